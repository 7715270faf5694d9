"""A server for tests, in the place of TF Serving: its protocols, and the loader that it uses.

`tensorflow_model_server` can't be had from a package index. What it does with a SavedModel is done
here by the same code, the C++ loader in TensorFlow's own library; what it does with requests is
done by the generated classes of its protocol. Batching and versions are left out.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import http.server
import json
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("deallocator", ctypes.c_void_p),
    ]


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(Path(tf.__file__).parent / "libtensorflow_cc.so.2"))
    for name in (
        "TF_NewStatus",
        "TF_NewGraph",
        "TF_NewSessionOptions",
        "TF_LoadSessionFromSavedModel",
        "TF_GraphOperationByName",
        "TF_AllocateTensor",
        "TF_TensorData",
    ):
        getattr(library, name).restype = ctypes.c_void_p
    library.TF_Message.restype = ctypes.c_char_p
    library.TF_Dim.restype = ctypes.c_int64
    library.TF_TensorByteSize.restype = ctypes.c_size_t
    return library


_STRING_BYTES = 24


class Model:
    """A SavedModel in TensorFlow's C++ loader, through its C interface."""

    def __init__(self, folder: Path) -> None:
        self._tf = _library()
        self._graph = ctypes.c_void_p(self._tf.TF_NewGraph())
        meta = _Buffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        with self._status() as status:
            self._session = ctypes.c_void_p(
                self._tf.TF_LoadSessionFromSavedModel(
                    ctypes.c_void_p(self._tf.TF_NewSessionOptions()),
                    None,
                    str(folder).encode(),
                    tags,
                    1,
                    self._graph,
                    ctypes.byref(meta),
                    status,
                )
            )
        definition = meta_graph_pb2.MetaGraphDef()
        definition.ParseFromString(ctypes.string_at(meta.data, meta.length))
        self.signatures = definition.signature_def

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name.

        Raises:
            ValueError: no such signature, other inputs, or the graph fails.
        """
        if signature not in self.signatures:
            raise ValueError(f'Serving signature name: "{signature}" not found in signature def')
        definition = self.signatures[signature]
        if set(inputs) != set(definition.inputs):
            raise ValueError(f"Expected the inputs {sorted(definition.inputs)}.")
        names = list(definition.outputs)
        feeds = [(definition.inputs[name].name, self._tensor(v)) for name, v in inputs.items()]
        answers = (ctypes.c_void_p * len(names))()
        with self._status() as status:
            self._tf.TF_SessionRun(
                self._session,
                None,
                self._places([name for name, _ in feeds]),
                (ctypes.c_void_p * len(feeds))(*(tensor for _, tensor in feeds)),
                len(feeds),
                self._places([definition.outputs[name].name for name in names]),
                answers,
                len(names),
                None,
                0,
                None,
                status,
            )
        for _, tensor in feeds:
            self._tf.TF_DeleteTensor(ctypes.c_void_p(tensor))
        return {name: self._array(answer) for name, answer in zip(names, answers, strict=True)}

    @contextlib.contextmanager
    def _status(self) -> Iterator[ctypes.c_void_p]:
        status = ctypes.c_void_p(self._tf.TF_NewStatus())
        try:
            yield status
            if self._tf.TF_GetCode(status) != 0:
                raise ValueError(self._tf.TF_Message(status).decode())
        finally:
            self._tf.TF_DeleteStatus(status)

    def _places(self, names: list[str]) -> Any:
        places = (_Output * len(names))()
        for place, name in zip(places, names, strict=True):
            operation, index = name.split(":")
            place.operation = self._tf.TF_GraphOperationByName(self._graph, operation.encode())
            place.index = int(index)
        return places

    def _tensor(self, value: np.ndarray) -> int:
        shape = (ctypes.c_int64 * value.ndim)(*value.shape)
        is_text = value.dtype == object
        kind = tf.string if is_text else tf.as_dtype(value.dtype)
        size = _STRING_BYTES * value.size if is_text else value.nbytes
        tensor = self._tf.TF_AllocateTensor(
            kind.as_datatype_enum, shape, value.ndim, ctypes.c_size_t(size)
        )
        data = self._tf.TF_TensorData(ctypes.c_void_p(tensor))
        if is_text:
            for index, content in enumerate(value.ravel()):
                place = ctypes.c_void_p(data + _STRING_BYTES * index)
                self._tf.TF_StringInit(place)
                self._tf.TF_StringCopy(place, content, ctypes.c_size_t(len(content)))
        else:
            ctypes.memmove(data, np.ascontiguousarray(value).ctypes.data, size)
        return int(tensor)

    def _array(self, address: int) -> np.ndarray:
        tensor = ctypes.c_void_p(address)
        shape = [self._tf.TF_Dim(tensor, axis) for axis in range(self._tf.TF_NumDims(tensor))]
        content = ctypes.string_at(
            self._tf.TF_TensorData(tensor), self._tf.TF_TensorByteSize(tensor)
        )
        kind = tf.as_dtype(self._tf.TF_TensorType(tensor)).as_numpy_dtype
        self._tf.TF_DeleteTensor(tensor)
        return np.frombuffer(content, kind).reshape(shape)


@contextlib.contextmanager
def grpc_server(models: dict[str, Model]) -> Iterator[str]:
    """Serves `Predict` on the loopback address; gives "host:port"."""

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> Any:
            model = models.get(request.model_spec.name)
            if model is None:
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            try:
                found = model.run(request.model_spec.signature_name, inputs)
            except ValueError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            answer = predict_pb2.PredictResponse()
            for name, value in found.items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return answer

    limits = [(f"grpc.max_{way}_message_length", 1 << 30) for way in ("send", "receive")]
    server = grpc.server(futures.ThreadPoolExecutor(2), options=limits)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def rest_server(models: dict[str, Model]) -> Iterator[str]:
    """Serves the REST interface on the loopback address; gives "http://host:port"."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = self.path.removeprefix("/v1/models/").removesuffix(":predict")
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                model = models[name]
                signature = body["signature_name"]
                inputs = {
                    key: _parsed(value, model.signatures[signature].inputs[key].dtype)
                    for key, value in body["inputs"].items()
                }
                found = model.run(signature, inputs)
                code, answer = 200, {"outputs": {k: v.tolist() for k, v in found.items()}}
            except KeyError:
                code, answer = 404, {"error": f"Servable not found for request: Latest({name})"}
            except ValueError as error:
                code, answer = 400, {"error": str(error)}
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _parsed(value: Any, kind: int) -> np.ndarray:
    if tf.as_dtype(kind) == tf.string:
        return np.array([base64.b64decode(one["b64"]) for one in value], object)
    return np.array(value, tf.as_dtype(kind).as_numpy_dtype)
