"""A client of TF Serving, with the results of `Detector.predict`.

The server gives the map, the threshold and the minimum area; score and defects follow from them
here, by the exact area rule. What it answers is not believed: it is checked before it is judged,
and it may take no longer and be no larger than the image allows. With REST, TensorFlow is not
imported.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssae_tf.config.arguments import checked
from ssae_tf.data.images import read_pixels
from ssae_tf.errors import DataError, InputError, RunError, one_line
from ssae_tf.export import tfserving
from ssae_tf.export.exchange import check_address, post_json
from ssae_tf.export.names import (
    ANOMALY_MAP,
    ENCODED,
    FLOAT,
    GIVEN_THRESHOLD,
    GOOD_SCORES,
    IMAGE_SIZE,
    MAX_SCORES,
    MIN_AREA,
    OUTLINE,
    PICTURE,
    PIXELS,
    RECONSTRUCTION,
    REVIEW_THRESHOLD,
    THRESHOLD,
    WITH_THRESHOLD,
)
from ssae_tf.result import Image, Result, as_unit, path_of, post_process
from ssae_tf.schemas import Area, Level, check_rule, sentence
from ssae_tf.scoring.threshold import float32_below

_WEB = ("http://", "https://")
# A map and a reconstruction.
_NUMBERS_A_PIXEL = 4
# Bytes of a number at most, as text and as float64; and of everything else in an answer.
_BYTES_AS_TEXT, _BYTES, _BYTES_OF_THE_REST = 32, 8, 1 << 20
# Of what is padded where images of several sizes were joined; its numbers are float32.
_OF_PIXELS, _BYTES_OF_A_VALUE = (ANOMALY_MAP, RECONSTRUCTION), 4

# A million wrong numbers need no million complaints.
_Row = Annotated[list[float], Field(fail_fast=True)]
_Plane = Annotated[list[_Row], Field(fail_fast=True)]
_Image = Annotated[list[_Plane], Field(fail_fast=True)]
_Size = Annotated[list[Area], Field(min_length=2, max_length=2)]
_ONE = Field(min_length=1, max_length=1)


class _Outputs(BaseModel):
    """What of an answer is looked at; a batch of one."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    anomaly_map: Annotated[list[_Plane], _ONE]
    threshold: Annotated[list[Level], _ONE]
    min_area: Annotated[list[Area], _ONE]
    outline: Annotated[list[Level], _ONE] | None = None
    review_threshold: Annotated[list[Level], _ONE] | None = None
    good_scores: Annotated[list[_Row], _ONE] | None = None
    reconstruction: Annotated[list[_Image], _ONE] | None = None
    image_size: Annotated[list[_Size], _ONE] | None = None


class _Answer(BaseModel):
    outputs: _Outputs


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
    """Sends images to a TF Serving endpoint; use it in a `with` block, or call `close`.

    Attributes:
        address: "host:port" for gRPC, "http://host:port" for REST.
        name: of the model.
        white_level: the value of a 16-bit image that becomes 1.0.
        timeout: seconds that an answer may take, from asking to its last byte.
        largest: (height, width) of the largest image of other clients that the server may join with
            one sent as a file: the answer is as large. None for images little larger than one's
            own, or none.

    Example:
        >>> from ssae_tf.export.client import Client
        >>> with Client("localhost:8500", "tile") as client:
        ...     result = client.predict("part.png", threshold=0.0)
        >>> result.is_anomalous
        True
    """

    @checked
    def __init__(
        self,
        address: str,
        name: str,
        *,
        white_level: int = 65535,
        timeout: float = 60.0,
        largest: tuple[int, int] | None = None,
    ) -> None:
        """Connects on the first request.

        Raises:
            InputError: an argument is out of range.
            MissingExtraError: the protocol of gRPC is not installed.
        """
        _check_arguments(name, white_level, timeout, largest)
        if address.startswith(_WEB):
            check_address(address)
        self.address = address.rstrip("/")
        self.name = name
        self.white_level = white_level
        self.timeout = timeout
        self.largest = largest
        self._channel: Any = None
        self._most = 0
        if not self._uses_rest:
            tfserving.check()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def predict(
        self, image: Image, *, threshold: float | None = None, as_file: bool = False
    ) -> Result:
        """Inspects one image.

        Args:
            image: as `Detector.predict` takes it.
            threshold: in place of the model's own and of its level of review; None for these.
            as_file: send the file as it is, PNG, JPEG or 24-bit BMP, which takes fewer bytes; the
                server decodes it.

        Raises:
            DataError: the file can't be read, or the image is none of the above.
            InputError: the threshold is no finite number of at least 0.
            RunError: the server can't be reached, refuses, or does not answer as this package's
                models do, in time and about this image.
        """
        if threshold is not None:
            check_rule(threshold, 1)
        path = path_of(image)
        if as_file and not path:
            raise DataError("Expected a path beside as_file. Received an array.")
        pixels = read_pixels(path) if path else image
        x = as_unit(pixels, self.white_level)
        if as_file:
            signature, sent = ENCODED, np.array([Path(path).read_bytes()], object)
        elif isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 3:
            signature, sent = PIXELS, pixels[None]
        else:
            signature, sent = FLOAT, x[None]
        inputs = {PICTURE: sent}
        if threshold is not None:
            signature += WITH_THRESHOLD
            inputs[GIVEN_THRESHOLD] = np.array([float32_below(threshold)], np.float32)
        ask = self._rest if self._uses_rest else self._grpc
        answer = ask(signature, inputs, x.shape[:2])
        return self._result(path, x, answer, threshold)

    def _result(
        self, path: str, x: np.ndarray, answer: dict[str, np.ndarray], threshold: float | None
    ) -> Result:
        """The verdict on an answer that is as it must be."""
        source = self._source
        is_padded = IMAGE_SIZE in answer
        for name in (*_shapes(x.shape[:2]), GOOD_SCORES):
            if name not in answer and name in (ANOMALY_MAP, THRESHOLD, MIN_AREA):
                raise RunError(f"{source}: answers without {name}.")
            if name in answer and answer[name].dtype.kind not in "fiu":
                raise RunError(f"{source}: answers with {name} of {answer[name].dtype}.")
            if name in answer:
                self._check_shape(name, answer[name].shape, x.shape[:2], is_padded)
        height, width = x.shape[:2]
        if is_padded and answer[IMAGE_SIZE][0].tolist() != [height, width]:
            raise RunError(f"{source}: answers about an image of another size.")
        if answer[MIN_AREA][0] > height * width:
            raise RunError(f"{source}: answers with a min_area larger than the image.")
        own = float(answer[THRESHOLD][0])
        min_area, reconstruction = answer[MIN_AREA][0].item(), answer.get(RECONSTRUCTION)
        outline, review = (
            float(answer[name][0]) if name in answer else None
            for name in (OUTLINE, REVIEW_THRESHOLD)
        )
        # It belongs to the model's own threshold, which a given one takes the place of.
        review = review if threshold is None else None
        scores = answer[GOOD_SCORES][0] if GOOD_SCORES in answer else np.empty(0)
        if not np.isfinite(scores).all():
            raise RunError(f"{source}: answers with {GOOD_SCORES} that are not finite.")
        try:
            check_rule(own, min_area, outline, review)
        except InputError as error:
            raise RunError(f"{source}: {error}") from None
        # What becomes infinity is refused.
        with np.errstate(over="ignore"):
            map_ = answer[ANOMALY_MAP][0, :height, :width].astype(np.float32)
            shown = None
            if reconstruction is not None:
                shown = reconstruction[0, :height, :width].astype(np.float32)
        return post_process(
            path,
            x,
            shown,
            map_,
            own if threshold is None else threshold,
            min_area,
            outline,
            review_threshold=review,
            good_scores=scores.tolist(),
            source=source,
        )

    @property
    def _source(self) -> str:
        return f"{self.address}: model {self.name!r}"

    def _check_shape(
        self, name: str, shape: tuple[int, ...], size: tuple[int, int], is_padded: bool
    ) -> None:
        # Of the scores, any number that is no more than a model answers with.
        count = min(shape[-1], MAX_SCORES) if shape else 0
        expected = {**_shapes(size), GOOD_SCORES: (1, count)}[name]
        most = self._most_bytes(size, _BYTES) // _BYTES_OF_A_VALUE
        if is_padded and name in _OF_PIXELS and math.prod(shape) <= most:
            expected = (1, *map(max, size, shape[1:3]), *expected[3:])
        if shape != expected:
            raise RunError(
                f"{self._source}: answers with {name} of shape {shape}. Expected: {expected}."
            )

    def _most_bytes(self, size: tuple[int, int], bytes_a_number: int) -> int:
        pixels = max(math.prod(size), math.prod(self.largest or (0,)))
        return _NUMBERS_A_PIXEL * pixels * bytes_a_number + _BYTES_OF_THE_REST

    @property
    def _uses_rest(self) -> bool:
        return self.address.startswith(_WEB)

    def _grpc(
        self, signature: str, inputs: dict[str, np.ndarray], size: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel_for(size))
        try:
            answer = stub.Predict(
                predict_request(self.name, signature, inputs), timeout=self.timeout
            )
        except grpc.RpcError as error:
            raise RunError(
                f"{self.address}: {error.code().name}, {_line(error.details())}."
            ) from None
        outputs = {}
        for name in (*_shapes(size), GOOD_SCORES):
            if name not in answer.outputs:
                continue
            value = answer.outputs[name]
            # Before it is unpacked: one number may stand for any shape.
            claimed = tuple(dimension.size for dimension in value.tensor_shape.dim)
            self._check_shape(name, claimed, size, IMAGE_SIZE in answer.outputs)
            try:
                outputs[name] = tf.make_ndarray(value)
            except Exception as error:
                raise RunError(
                    f"{self.address}: {name} can't be unpacked ({one_line(error)})."
                ) from None
        return outputs

    def _channel_for(self, size: tuple[int, int]) -> Any:
        """A connection that takes what an answer about an image may have."""
        import grpc

        most = self._most_bytes(size, _BYTES)
        if self._channel is None or most > self._most:
            self.close()
            # gRPC's own limit, 4 MiB, is less than the map and reconstruction of 512² have.
            self._channel = grpc.insecure_channel(
                self.address, [("grpc.max_receive_message_length", most)]
            )
            self._most = most
        return self._channel

    def _rest(
        self, signature: str, inputs: dict[str, np.ndarray], size: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        body = {
            "signature_name": signature,
            "inputs": {name: _as_json(value) for name, value in inputs.items()},
        }
        status, content = post_json(
            self.address,
            f"/v1/models/{self.name}:predict",
            json.dumps(body).encode(),
            self.timeout,
            self._most_bytes(size, _BYTES_AS_TEXT),
        )
        if status != 200:
            raise RunError(f"{self.address}: {status}, {_line(_message(content))}.")
        try:
            outputs = _Answer.model_validate_json(content).outputs
            return {name: np.array(value) for name, value in outputs if value is not None}
        except ValidationError as error:
            raise RunError(
                f"{self.address}: no answer of TF Serving ({sentence(error)})."
            ) from None
        except ValueError:
            raise RunError(
                f"{self.address}: no answer of TF Serving (its lists differ in length)."
            ) from None


def _check_arguments(
    name: str, white_level: int, timeout: float, largest: tuple[int, int] | None
) -> None:
    if not name:
        raise InputError("Expected the name of a model. Received none.")
    if not 1 <= white_level <= 65535:
        raise InputError(f"Expected a white_level of 1 to 65535. Received: {white_level}.")
    if not 0.0 < timeout < math.inf:
        raise InputError(f"Expected a timeout above 0 seconds. Received: {timeout}.")
    if largest is not None and min(largest) < 1:
        raise InputError(f"Expected a largest height and width of 1 or more. Received: {largest}.")


def _shapes(size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """What an answer about one image has."""
    one = (1,)
    return {
        ANOMALY_MAP: (1, *size),
        THRESHOLD: one,
        MIN_AREA: one,
        OUTLINE: one,
        REVIEW_THRESHOLD: one,
        RECONSTRUCTION: (1, *size, 3),
        IMAGE_SIZE: (1, 2),
    }


def _as_json(value: np.ndarray) -> Any:
    if value.dtype == object:
        return [{"b64": base64.b64encode(content).decode()} for content in value]
    return value.tolist()


def _message(content: bytes) -> str:
    text = content.decode("utf-8", "replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return text


def _line(text: str | None) -> str:
    """The first line of what a server says, without what would move a terminal's cursor."""
    lines = (text or "").strip().splitlines()
    first = lines[0].rstrip(".")[:300] if lines else "no reason given"
    return "".join(one if one.isprintable() else "�" for one in first)
