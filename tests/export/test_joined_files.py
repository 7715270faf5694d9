"""Files of several sizes in one request, as TF Serving's batching joins them: the C++ loader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import from_dict
from ssae_tf.data.images import encode_png
from ssae_tf.detector import Calibration, Detector
from ssae_tf.errors import InputError, RunError
from ssae_tf.export.client import Client
from ssae_tf.export.formats import savedmodel
from ssae_tf.export.names import ENCODED, FLOAT, GIVEN_THRESHOLD, IMAGE_SIZE, PICTURE
from ssae_tf.export.serving import Serving

serving_stand_in = pytest.importorskip("serving_stand_in")

SIZES = [(16, 24), (40, 33), (9, 70), (32, 48)]
OF_PIXELS = "anomaly_map", "reconstruction"


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Two convolutions over images of 32 × 48; borders are ignored."""
    scoring = {"inspection_size": [32, 48], "smoothing_sigma": 1.0, "evidence": "residual"}
    config = from_dict({"scoring": {**scoring, "outline": None, "border": 2}})
    inputs = tf.keras.Input((None, None, 3))
    x = tf.keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    model = tf.keras.Model(inputs, tf.keras.layers.Conv2D(3, 3, padding="same")(x))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0.0, 0.2, one.shape) for one in model.get_weights()])
    return Detector(model, config, Calibration(0.73, 4, (0.25, 0.5)))


@pytest.fixture(scope="module")
def model(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The artefact in the C++ loader."""
    folder = tmp_path_factory.mktemp("joined") / "model"
    savedmodel.write(folder, Serving.of(detector, is_served=True), detector.folded)
    return serving_stand_in.Model(folder)


@pytest.fixture
def images(rng: np.random.Generator) -> list[np.ndarray]:
    """Noise in several sizes, every other one brighter."""
    lowest = (0, 150, 0, 150)
    return [
        rng.integers(low, 256, (*size, 3), np.uint8)
        for low, size in zip(lowest, SIZES, strict=True)
    ]


def _files(images: list[np.ndarray]) -> np.ndarray:
    return np.array([encode_png(image) for image in images], object)


def test_each_has_the_answer_that_it_has_alone(
    model: Any, detector: Detector, images: list[np.ndarray]
) -> None:
    together = model.run(ENCODED, {PICTURE: _files(images)})
    assert together[IMAGE_SIZE].tolist() == [list(size) for size in SIZES]
    for index, image in enumerate(images):
        height, width = SIZES[index]
        alone = model.run(ENCODED, {PICTURE: _files([image])})
        assert set(alone) == set(together)
        for name, value in alone.items():
            joined = together[name][index]
            if name in OF_PIXELS:
                assert value.shape[1:3] == (height, width)
                assert joined.shape[:2] == (40, 70)
                assert not joined[height:].any()
                assert not joined[:, width:].any()
                joined = joined[:height, :width]
            np.testing.assert_allclose(joined, value[0], atol=1e-6, err_msg=name)
        expected = detector.predict(image)
        assert together["is_anomalous"][index] == expected.is_anomalous
        np.testing.assert_allclose(alone["anomaly_map"][0], expected.anomaly_map, atol=1e-5)
    assert set(together["is_anomalous"].tolist()) == {False, True}


def test_alone_as_the_same_pixels(model: Any, images: list[np.ndarray]) -> None:
    """The image alone has what `serving_default` gives, and its size besides."""
    for image in images:
        file = model.run(ENCODED, {PICTURE: _files([image])})
        x = image[None].astype(np.float32) / 255.0
        pixels = model.run(FLOAT, {PICTURE: x})
        assert file.pop(IMAGE_SIZE).tolist() == [list(image.shape[:2])]
        assert set(file) == set(pixels)
        for name, value in pixels.items():
            np.testing.assert_allclose(file[name], value, atol=1e-6, err_msg=name)


def test_thresholds_of_their_own(model: Any, images: list[np.ndarray]) -> None:
    limits = np.array([0.0, 9.0, 9.0, 0.0], np.float32)
    found = model.run(f"{ENCODED}_at", {PICTURE: _files(images), GIVEN_THRESHOLD: limits})
    assert found["is_anomalous"].tolist() == [True, False, False, True]
    assert found["threshold"].tolist() == limits.tolist()


class _Joining:
    """A model that joins each request with another, and gives each its part of the answer."""

    def __init__(self, model: Any, other: np.ndarray) -> None:
        self.model, self.signatures, self.other = model, model.signatures, other

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        others = {PICTURE: _files([self.other]), GIVEN_THRESHOLD: np.zeros(1, np.float32)}
        joined = {name: np.concatenate([others[name], inputs[name]]) for name in inputs}
        return {name: value[1:] for name, value in self.model.run(signature, joined).items()}


@pytest.fixture(params=["grpc", "rest"])
def client(
    request: pytest.FixtureRequest, model: Any, images: list[np.ndarray]
) -> Iterator[Client]:
    """A client whose requests are joined with those of another about a larger image."""
    serve = getattr(serving_stand_in, f"{request.param}_server")
    larger = np.tile(images[1], (3, 4, 1))
    with (
        serve({"tile": _Joining(model, larger)}) as address,
        Client(address, "tile", timeout=300) as one,
    ):
        yield one


def test_the_client_has_the_detectors_result(
    client: Client, detector: Detector, images: list[np.ndarray], tmp_path: Path
) -> None:
    for image in images:
        path = tmp_path / "image.png"
        path.write_bytes(encode_png(image))
        for threshold in (None, 0.5):
            result = client.predict(path, as_file=True, threshold=threshold)
            expected = detector.predict(path, threshold=threshold)
            np.testing.assert_allclose(result.anomaly_map, expected.anomaly_map, atol=1e-5)
            np.testing.assert_allclose(result.reconstruction, expected.reconstruction, atol=1e-5)
            assert result.score == pytest.approx(expected.score, abs=1e-5)
            assert result.is_anomalous == expected.is_anomalous
            assert [one.box for one in result.defects] == [one.box for one in expected.defects]


class _Answers:
    def __init__(self, **outputs: np.ndarray) -> None:
        self.outputs = outputs

    def run(self, *_: object) -> dict[str, np.ndarray]:
        return self.outputs


def _answers(height: int, width: int, **changes: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "anomaly_map": np.zeros((1, height, width), np.float32),
        "threshold": np.ones(1, np.float32),
        "min_area": np.array([4], np.int32),
        IMAGE_SIZE: np.array([[8, 9]], np.int32),
        **changes,
    }


@pytest.mark.parametrize(
    "answers",
    [
        _answers(16, 18, **{IMAGE_SIZE: np.array([[9, 8]], np.int32)}),
        _answers(16, 18, **{IMAGE_SIZE: np.array([[16, 18]], np.int32)}),
        _answers(16, 18, **{IMAGE_SIZE: np.array([8, 9], np.int32)}),
        _answers(7, 18),
        _answers(16, 18, anomaly_map=np.zeros((1, 16, 18, 1), np.float32)),
        _answers(16, 18, anomaly_map=np.zeros((2, 16, 18), np.float32)),
        _answers(16, 18, reconstruction=np.zeros((1, 16, 18, 4), np.float32)),
        # An answer without its image's size is about that image alone.
        {k: v for k, v in _answers(16, 18).items() if k != IMAGE_SIZE},
    ],
)
def test_padding_that_is_none(answers: dict[str, np.ndarray]) -> None:
    image = np.zeros((8, 9, 3), np.uint8)
    models = {"tile": _Answers(**answers)}
    with serving_stand_in.grpc_server(models) as address, Client(address, "tile") as client:
        with pytest.raises(RunError) as caught:
            client.predict(image)
        models["tile"] = _Answers(**_answers(16, 18))
        assert client.predict(image).anomaly_map.shape == (8, 9)
    assert str(caught.value).startswith(address)


def test_much_larger_images_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client takes their answers if it was told of them."""
    image = np.zeros((8, 9, 3), np.uint8)
    models = {"tile": _Answers(**_answers(600, 700))}
    with serving_stand_in.grpc_server(models) as address:
        with Client(address, "tile") as client, pytest.raises(RunError, match="larger than max"):
            client.predict(image)
        with Client(address, "tile", largest=(600, 700)) as client:
            assert client.predict(image).anomaly_map.shape == (8, 9)
        # One value may claim any shape.
        proto = tf.make_tensor_proto(np.zeros((1, 1), np.float32))
        for size in (10**6, 10**6):
            proto.tensor_shape.dim.add(size=size)
        del proto.tensor_shape.dim[1]
        make = tf.make_tensor_proto
        monkeypatch.setattr(
            tf, "make_tensor_proto", lambda value: proto if value.ndim == 3 else make(value)
        )
        with Client(address, "tile") as client, pytest.raises(RunError, match="1000000, 1000000"):
            client.predict(image.astype(np.float32)[..., 0])


def test_no_size_to_be_told_of() -> None:
    with pytest.raises(InputError, match=r"largest height and width.*\(0, 9\)"):
        Client("localhost:8500", "tile", largest=(0, 9))
