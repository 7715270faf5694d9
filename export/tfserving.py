"""What TF Serving takes beside a SavedModel: warm-up requests, its settings, the command."""

from __future__ import annotations

import importlib.util
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssae_tf.data.images import encode_png, to_unit
from ssae_tf.errors import MissingExtraError
from ssae_tf.export.names import ENCODED, FLOAT, PICTURE, PIXELS

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
# It reads no more.
MOST_WARMUP = 1000
IMAGE = "tensorflow/serving:2.19.1"
HOW_TO_OPEN = (
    "This command serves this machine only. `-p 8500:8500 -p 8501:8501` in it serves the whole "
    "network: TF Serving asks for no password and encrypts nothing, so put a proxy that does both "
    "before it."
)


def check() -> None:
    """Raises a MissingExtraError where TF Serving's protocol is not installed."""
    if importlib.util.find_spec("tensorflow_serving") is None:
        raise MissingExtraError(
            "Requests to TF Serving need tensorflow-serving-api: pip install 'ssae-tf[serving]'"
        )


def write_warmup(folder: Path, name: str, images: Sequence[np.ndarray]) -> None:
    """Writes requests that TF Serving replays on loading, so that no user waits for the first.

    Args:
        images: (H, W, 3) uint8; they go in turn to the signatures for floats, pixels and files.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from ssae_tf.export.client import predict_request

    path = folder / WARMUP_FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index, pixels in enumerate(images):
            signature = (FLOAT, PIXELS, ENCODED)[index % 3]
            request = predict_request(name, signature, {PICTURE: _input(signature, pixels)})
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def models_config(name: str) -> str:
    """The content of TF Serving's models.config."""
    return (
        "model_config_list {\n"
        "  config {\n"
        f"    name: {json.dumps(name)}\n"
        f"    base_path: {json.dumps(f'/models/{name}')}\n"
        '    model_platform: "tensorflow"\n'
        "  }\n"
        "}\n"
    )


def docker_command(folder: Path, name: str) -> str:
    """The command that serves the folder of versions, gRPC on port 8500 and REST on 8501.

    Only this machine reaches it: TF Serving asks nobody for a name or password.
    """
    volume = shlex.quote(f"{folder.resolve()}:/models/{name}")
    return (
        f"docker run --rm -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 -v {volume} "
        f"-e MODEL_NAME={shlex.quote(name)} {IMAGE}"
    )


def _input(signature: str, pixels: np.ndarray) -> np.ndarray:
    if signature == FLOAT:
        return to_unit(pixels)[None]
    if signature == PIXELS:
        return pixels[None]
    return np.array([encode_png(pixels)], object)
