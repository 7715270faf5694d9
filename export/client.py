"""A client of TF Serving, with the results of `Detector.predict`.

The server gives the map, the threshold and the minimum area; score and defects follow from them
here, by the exact area rule.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ssae_tf.data.images import read_pixels
from ssae_tf.detector import Result, as_unit, judged
from ssae_tf.errors import DataError, RunError, one_line
from ssae_tf.export import tfserving
from ssae_tf.export.names import (
    ANOMALY_MAP,
    ENCODED,
    FLOAT,
    GIVEN_THRESHOLD,
    MIN_AREA,
    OUTLINE,
    PICTURE,
    PIXELS,
    RECONSTRUCTION,
    THRESHOLD,
    WITH_THRESHOLD,
)
from ssae_tf.export.serving import float32_below

# Bytes of a message; the default of gRPC is 4 MiB, a map and a reconstruction of 1024² have 16.
_LARGEST_MESSAGE = 1 << 30


def predict_request(name: str, signature: str, inputs: dict[str, np.ndarray]) -> Any:
    """A `PredictRequest` of TF Serving's protocol.

    Args:
        name: of the model.
        signature: of the model.
        inputs: name -> array; bytes in arrays of objects.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


class Client:
    """Sends pictures to a TF Serving endpoint; use it in a `with` block, or call `close`.

    Attributes:
        address: "host:port" for gRPC, "http://host:port" for REST.
        name: of the model.
        white_level: the value of a 16-bit picture that becomes 1.0.
        timeout: seconds that an answer may take.

    Example:
        >>> from ssae_tf.export.client import Client
        >>> with Client("localhost:8500", "tile") as client:
        ...     result = client.predict("part.png", threshold=0.0)
        >>> result.is_anomalous
        True
    """

    def __init__(
        self, address: str, name: str, *, white_level: int = 65535, timeout: float = 60.0
    ) -> None:
        """Connects on the first request.

        Raises:
            MissingExtraError: the protocol of gRPC is not installed.
        """
        self.address = address.rstrip("/")
        self.name = name
        self.white_level = white_level
        self.timeout = timeout
        self._channel: Any = None
        if not self._uses_rest:
            tfserving.check()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def predict(
        self,
        picture: str | Path | np.ndarray,
        *,
        threshold: float | None = None,
        as_file: bool = False,
    ) -> Result:
        """Inspects one picture.

        Args:
            picture: a path, or (H, W, 3) or (H, W), uint8, uint16, or float in [0, 1], RGB.
            threshold: None for the model's own.
            as_file: send the file as it is, PNG, JPEG or 24-bit BMP, which takes fewer bytes; the
                server decodes it.

        Raises:
            DataError: the file can't be read, or the array is none of the above.
            RunError: the server can't be reached, refuses, or does not answer as this package's
                models do.
        """
        path = "" if isinstance(picture, np.ndarray) else str(picture)
        if isinstance(picture, np.ndarray):
            if as_file:
                raise DataError("Expected a path beside as_file. Received an array.")
            pixels = picture
        else:
            pixels = read_pixels(picture)
        x = as_unit(pixels, self.white_level)
        if as_file:
            signature, sent = ENCODED, np.array([Path(path).read_bytes()], object)
        elif pixels.dtype == np.uint8 and pixels.ndim == 3:
            signature, sent = PIXELS, pixels[None]
        else:
            signature, sent = FLOAT, x[None]
        inputs = {PICTURE: sent}
        if threshold is not None:
            signature += WITH_THRESHOLD
            inputs[GIVEN_THRESHOLD] = np.array([float32_below(threshold)], np.float32)
        found = self._rest(signature, inputs) if self._uses_rest else self._grpc(signature, inputs)
        missing = {ANOMALY_MAP, THRESHOLD, MIN_AREA} - set(found)
        if missing:
            raise RunError(
                f"{self.address}: model {self.name!r} answers without {', '.join(sorted(missing))}."
            )
        reconstruction = found.get(RECONSTRUCTION)
        return judged(
            path,
            x,
            None if reconstruction is None else reconstruction[0].astype(np.float32),
            found[ANOMALY_MAP][0].astype(np.float32),
            float(found[THRESHOLD][0]) if threshold is None else threshold,
            int(found[MIN_AREA][0]),
            float(found[OUTLINE][0]) if OUTLINE in found else None,
        )

    @property
    def _uses_rest(self) -> bool:
        return self.address.startswith(("http://", "https://"))

    def _grpc(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        if self._channel is None:
            limits = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
            self._channel = grpc.insecure_channel(
                self.address, [(name, _LARGEST_MESSAGE) for name in limits]
            )
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        try:
            answer = stub.Predict(
                predict_request(self.name, signature, inputs), timeout=self.timeout
            )
        except grpc.RpcError as error:
            raise RunError(
                f"{self.address}: {error.code().name}, {_line(error.details())}."
            ) from None
        return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}

    def _rest(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        body = {
            "signature_name": signature,
            "inputs": {name: _as_json(value) for name, value in inputs.items()},
        }
        request = urllib.request.Request(
            f"{self.address}/v1/models/{self.name}:predict",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                outputs = json.load(answer)["outputs"]
        except urllib.error.HTTPError as error:
            raise RunError(f"{self.address}: {error.code}, {_line(_message(error))}.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{self.address}: no answer of TF Serving ({one_line(error)})."
            ) from None
        return {name: np.asarray(value) for name, value in outputs.items()}


def _as_json(value: np.ndarray) -> Any:
    if value.dtype == object:
        return [{"b64": base64.b64encode(content).decode()} for content in value]
    return value.tolist()


def _message(error: urllib.error.HTTPError) -> str:
    text = error.read().decode("utf-8", "replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text


def _line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[0].rstrip(".")[:300] if lines else "no reason given"
