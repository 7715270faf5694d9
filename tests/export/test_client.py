"""The client over the real protocols, against a server with TensorFlow's C++ loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.detector import Detector, Result
from ssae_tf.errors import DataError, RunError
from ssae_tf.export.build import Exported
from ssae_tf.export.client import Client
from ssae_tf.export.names import FLOAT, MIN_AREA, OUTLINE, PICTURE
from ssae_tf.export.tfserving import docker_command, models_config, write_warmup
from ssae_tf.threshold import anomaly_mask

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
    np.testing.assert_array_equal(result.picture, expected.picture)
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
    picture = rng.integers(0, 256, (40, 48, 3)).astype(np.uint8)
    map_ = client.predict(picture).anomaly_map
    threshold, outline = (float(level) for level in np.quantile(map_, [0.95, 0.6]))
    for name in ("_grpc", "_rest"):
        ask = getattr(client, name)

        def answer(*request: Any, ask: Any = ask) -> dict[str, np.ndarray]:
            return {**ask(*request), OUTLINE: np.array([outline]), MIN_AREA: np.array([1])}

        monkeypatch.setattr(client, name, answer)
    result = client.predict(picture, threshold=threshold)
    np.testing.assert_array_equal(
        result.mask, anomaly_mask(result.anomaly_map, threshold, 1, outline)
    )
    assert result.mask.sum() > (map_ > threshold).sum()


def test_arrays_of_all_kinds(client: Client, trained: Detector, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (21, 30, 3)).astype(np.uint8)
    deep = rng.integers(0, 65536, (21, 30, 3)).astype(np.uint16)
    for picture in (pixels, pixels[..., 0], deep, rng.random((5, 9, 3))):
        _same(client.predict(picture), trained.predict(picture))


def test_white_level(addresses: dict[str, str], tmp_path: Path, rng: np.random.Generator) -> None:
    deep = rng.integers(0, 4096, (8, 8, 3)).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    with Client(addresses["grpc"], "tile", white_level=4095) as client:
        picture = client.predict(tmp_path / "deep.png").picture
    np.testing.assert_allclose(picture, deep / 4095, atol=1e-6)


def test_refusals(client: Client, addresses: dict[str, str], tmp_path: Path) -> None:
    other = Client(client.address, "weave", timeout=60)
    with pytest.raises(RunError, match=r"^(http://)?127.0.0.1:\d+: (NOT_FOUND|404), Servable not"):
        other.predict(np.zeros((8, 8, 3), np.uint8))
    other.close()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"broken\.png: the PNG is truncated"):
        client.predict(tmp_path / "broken.png", as_file=True)
    with pytest.raises(DataError, match="Expected a path beside as_file"):
        client.predict(np.zeros((8, 8, 3), np.uint8), as_file=True)
    pixels = np.zeros((8, 8, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "picture.tif"), pixels)
    # The detector reads it, the graph does not.
    with pytest.raises(RunError, match=r"(INVALID_ARGUMENT|400), .*"):
        client.predict(tmp_path / "picture.tif", as_file=True)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "http://127.0.0.1:9"])
def test_nobody_there(address: str) -> None:
    client = Client(address, "tile", timeout=20)
    with client, pytest.raises(RunError, match=rf"^{address}: ") as caught:
        client.predict(np.zeros((8, 8, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_batches_and_thresholds_of_their_own(model: object, rng: np.random.Generator) -> None:
    """What TF Serving's batching makes of requests with a threshold each."""
    x = rng.random((2, 16, 16, 3), dtype=np.float32)
    limits = np.array([0.0, 9.0], np.float32)
    found = model.run(f"{FLOAT}_at", {PICTURE: x, "given_threshold": limits})
    assert found["is_anomalous"].tolist() == [True, False]
    assert found["threshold"].tolist() == [0.0, 9.0]


def test_warmup_requests_are_replayed(
    model: object, tmp_path: Path, rng: np.random.Generator
) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    pictures = [rng.integers(0, 256, (16, 24, 3)).astype(np.uint8) for _ in range(4)]
    write_warmup(tmp_path, "tile", pictures)
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
    command = docker_command(tmp_path, "tile")
    assert f"-v '{tmp_path}:/models/tile' -e MODEL_NAME=tile tensorflow/serving:" in command
