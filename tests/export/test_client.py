"""The client over the real protocols, against a server with TensorFlow's C++ loader."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.data.images import encode_png
from ssae_tf.detector import Detector, Result
from ssae_tf.errors import DataError, RunError
from ssae_tf.export.build import Exported
from ssae_tf.export.client import Client
from ssae_tf.export.names import ENCODED, FLOAT, MIN_AREA, OUTLINE, PICTURE
from ssae_tf.export.tfserving import HOW_TO_OPEN, docker_command, models_config, write_warmup
from ssae_tf.scoring.threshold import anomaly_mask

serving_stand_in = pytest.importorskip("serving_stand_in")


@pytest.fixture(scope="module")
def model(make: Callable[..., Exported]) -> object:
    """The artefact in the C++ loader."""
    return serving_stand_in.Model(make("savedmodel").folder)


@pytest.fixture(scope="module")
def addresses(model: object) -> Iterator[dict[str, str]]:
    """Where the model `tile` is served."""
    models = {"tile": model}
    with serving_stand_in.grpc_server(models) as one, serving_stand_in.rest_server(models) as two:
        yield {"grpc": one, "rest": two}


@pytest.fixture(params=["grpc", "rest"])
def client(request: pytest.FixtureRequest, addresses: dict[str, str]) -> Iterator[Client]:
    """A client of either protocol."""
    with Client(addresses[request.param], "tile", timeout=300) as one:
        yield one


def _same(result: Result, expected: Result) -> None:
    np.testing.assert_allclose(result.anomaly_map, expected.anomaly_map, atol=1e-4)
    # Rounding of twenty layers.
    np.testing.assert_allclose(result.reconstruction, expected.reconstruction, atol=3e-5)
    np.testing.assert_array_equal(result.image, expected.image)
    assert result.anomaly_map.dtype == np.float32
    assert result.score == pytest.approx(expected.score, abs=1e-4)
    assert result.threshold == pytest.approx(expected.threshold, rel=1e-6)
    assert result.path == expected.path


@pytest.mark.parametrize("as_file", [False, True])
def test_the_detectors_result(
    as_file: bool, client: Client, trained: Detector, sample_root: Path
) -> None:
    for path in sorted((sample_root / "tile" / "test").glob("*/000.png")):
        _same(client.predict(path, as_file=as_file), trained.predict(path))
        threshold = 0.5 * trained.predict(path).score
        result = client.predict(path, threshold=threshold, as_file=as_file)
        expected = trained.predict(path, threshold=threshold)
        assert result.threshold == threshold
        assert [one.box for one in result.defects] == [one.box for one in expected.defects]
        assert result.is_anomalous


def test_defects_end_at_the_servers_outline(
    client: Client, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = rng.integers(0, 256, (40, 48, 3)).astype(np.uint8)
    map_ = client.predict(image).anomaly_map
    threshold, outline = (float(level) for level in np.quantile(map_, [0.95, 0.6]))
    for name in ("_grpc", "_rest"):
        ask = getattr(client, name)

        def answer(*request: Any, ask: Any = ask) -> dict[str, np.ndarray]:
            return {**ask(*request), OUTLINE: np.array([outline]), MIN_AREA: np.array([1])}

        monkeypatch.setattr(client, name, answer)
    result = client.predict(image, threshold=threshold)
    np.testing.assert_array_equal(
        result.mask, anomaly_mask(result.anomaly_map, threshold, 1, outline)
    )
    assert result.mask.sum() > (map_ > threshold).sum()


def test_arrays_of_all_kinds(client: Client, trained: Detector, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (21, 30, 3)).astype(np.uint8)
    deep = rng.integers(0, 65536, (21, 30, 3)).astype(np.uint16)
    for image in (pixels, pixels[..., 0], deep, rng.random((5, 9, 3))):
        _same(client.predict(image), trained.predict(image))


def test_white_level(addresses: dict[str, str], tmp_path: Path, rng: np.random.Generator) -> None:
    deep = rng.integers(0, 4096, (8, 8, 3)).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    with Client(addresses["grpc"], "tile", white_level=4095) as client:
        image = client.predict(tmp_path / "deep.png").image
    np.testing.assert_allclose(image, deep / 4095, atol=1e-6)


def test_refusals(client: Client, addresses: dict[str, str], tmp_path: Path) -> None:
    other = Client(client.address, "weave", timeout=60)
    with pytest.raises(RunError, match=r"^(http://)?127.0.0.1:\d+: (NOT_FOUND|404), Servable not"):
        other.predict(np.zeros((8, 8, 3), np.uint8))
    other.close()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"broken\.png: the PNG has a damaged header"):
        client.predict(tmp_path / "broken.png", as_file=True)
    with pytest.raises(DataError, match="Expected a path beside as_file"):
        client.predict(np.zeros((8, 8, 3), np.uint8), as_file=True)
    pixels = np.zeros((8, 8, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "image.tif"), pixels)
    # The detector reads it, the graph does not.
    with pytest.raises(RunError, match=r"(INVALID_ARGUMENT|400), .*"):
        client.predict(tmp_path / "image.tif", as_file=True)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "http://127.0.0.1:9"])
def test_nobody_there(address: str) -> None:
    client = Client(address, "tile", timeout=20)
    with client, pytest.raises(RunError, match=rf"^{address}: ") as caught:
        client.predict(np.zeros((8, 8, 3), np.uint8))
    assert "\n" not in str(caught.value)


class _Answers:
    """A model whose answers are given."""

    def __init__(self, **outputs: np.ndarray) -> None:
        self.outputs = outputs

    def run(self, *_: object) -> dict[str, np.ndarray]:
        return self.outputs


_MAP, _ONE, _FOUR = np.zeros((1, 8, 9), np.float32), np.ones(1, np.float32), np.array([4], np.int32)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": np.array([np.nan], np.float32)},
        {"threshold": np.array([-1.0], np.float32)},
        {"threshold": np.array(["1"])},
        {"threshold": np.ones(2, np.float32)},
        {"min_area": np.array([0], np.int32)},
        {"min_area": np.array([73], np.int32)},
        {"min_area": np.array([4.5], np.float32)},
        {"outline": np.array([np.inf], np.float32)},
        {"anomaly_map": np.full((1, 8, 9), np.nan, np.float32)},
        {"anomaly_map": np.full((1, 8, 9), 1e300)},
        {"anomaly_map": np.zeros((1, 9, 8), np.float32)},
        {"anomaly_map": np.zeros((1, 8, 9), bool)},
        {"anomaly_map": np.zeros((1, 8000, 9), np.float32)},
        # More than gRPC is told to take for this image.
        {"anomaly_map": np.zeros((1, 800, 900), np.float64)},
        {"reconstruction": np.zeros((1, 8, 9), np.float32)},
    ],
)
def test_numbers_that_judge_nothing(changes: dict[str, np.ndarray]) -> None:
    answers = {"anomaly_map": _MAP, "threshold": _ONE, "min_area": _FOUR, **changes}
    models = {"tile": _Answers(**answers)}
    with serving_stand_in.grpc_server(models) as address, Client(address, "tile") as client:
        with pytest.raises(RunError) as caught:
            client.predict(np.zeros((8, 9, 3), np.uint8))
        models["tile"] = _Answers(anomaly_map=_MAP, threshold=_ONE, min_area=_FOUR)
        assert not client.predict(np.zeros((8, 9, 3), np.uint8)).is_anomalous
        # Larger images may have larger answers.
        large = np.zeros((1, 1500, 900), np.float64)
        models["tile"] = _Answers(anomaly_map=large, threshold=_ONE, min_area=_FOUR)
        assert client.predict(np.zeros((1500, 900, 3), np.uint8)).score == 0.0
    assert str(caught.value).startswith(address)
    assert "\n" not in str(caught.value)


def test_a_number_that_claims_to_be_a_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """One value may stand for a tensor of any shape."""
    proto = tf.make_tensor_proto(np.zeros((1, 1), np.float32))
    for size in (1, 10**6, 10**6):
        proto.tensor_shape.dim.add(size=size)
    monkeypatch.setattr(tf, "make_tensor_proto", lambda _: proto)
    models = {"tile": _Answers(anomaly_map=_MAP)}
    with serving_stand_in.grpc_server(models) as address:
        client = Client(address, "tile")
        monkeypatch.setattr("ssae_tf.export.client.predict_request", _request)
        with client, pytest.raises(RunError, match=r"anomaly_map of shape \(1, 1, 1, 1000000, 1"):
            client.predict(np.zeros((8, 9, 3), np.uint8))


def _request(name: str, *_: object) -> object:
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    return request


def test_batches_and_thresholds_of_their_own(model: object, rng: np.random.Generator) -> None:
    """What TF Serving's batching makes of requests with a threshold each."""
    x = rng.random((2, 16, 16, 3), dtype=np.float32)
    limits = np.array([0.0, 9.0], np.float32)
    found = model.run(f"{FLOAT}_at", {PICTURE: x, "given_threshold": limits})
    assert found["is_anomalous"].tolist() == [True, False]
    assert found["threshold"].tolist() == [0.0, 9.0]


def test_files_of_one_size_may_be_joined(model: object, rng: np.random.Generator) -> None:
    images = [encode_png(rng.integers(0, 256, (16, 24, 3), np.uint8)) for _ in range(3)]
    together = model.run(ENCODED, {PICTURE: np.array(images, object)})
    for index, image in enumerate(images):
        alone = model.run(ENCODED, {PICTURE: np.array([image], object)})
        np.testing.assert_allclose(
            together["anomaly_map"][index], alone["anomaly_map"][0], atol=1e-6
        )
        assert together["is_anomalous"][index] == alone["is_anomalous"][0]


def test_files_of_two_sizes_fail_together_and_harm_no_other(
    model: object, rng: np.random.Generator
) -> None:
    images = [encode_png(rng.integers(0, 256, (16, side, 3), np.uint8)) for side in (24, 16)]
    with pytest.raises(Exception, match=r"(?i)shape"):
        model.run(ENCODED, {PICTURE: np.array(images, object)})
    found = model.run(ENCODED, {PICTURE: np.array(images[:1], object)})
    assert found["anomaly_map"].shape == (1, 16, 24)


def test_warmup_requests_are_replayed(
    model: object, tmp_path: Path, rng: np.random.Generator
) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    images = [rng.integers(0, 256, (16, 24, 3)).astype(np.uint8) for _ in range(4)]
    write_warmup(tmp_path, "tile", images)
    path = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    assert len(records) == 4
    signatures = []
    for record in records:
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        assert request.model_spec.name == "tile"
        signatures.append(request.model_spec.signature_name)
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        found = model.run(signatures[-1], inputs)
        assert found["anomaly_map"].shape == (1, 16, 24)
    assert signatures == ["serving_default", "serve_u8", "serve_bytes", "serving_default"]


def test_what_the_server_is_started_with(tmp_path: Path) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(models_config("tile"), config)
    (one,) = config.model_config_list.config
    assert (one.name, one.base_path, one.model_platform) == ("tile", "/models/tile", "tensorflow")
    command = shlex.split(docker_command(tmp_path / "it's", "my tile"))
    # Nobody else reaches these ports.
    published = [command[index + 1] for index, word in enumerate(command) if word == "-p"]
    assert published == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    assert command[command.index("-v") + 1] == f"{tmp_path}/it's:/models/my tile"
    assert command[command.index("-e") + 1] == "MODEL_NAME=my tile"
    assert "`-p 8500:8500 -p 8501:8501`" in HOW_TO_OPEN
    text_format.Parse(
        models_config('a "b" \\'), config := model_server_config_pb2.ModelServerConfig()
    )
    assert config.model_config_list.config[0].name == 'a "b" \\'
