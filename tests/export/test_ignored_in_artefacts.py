"""What a detector ignores, its artefacts ignore, to the pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import RunConfig, override
from ssae_tf.detector import Calibration, Detector
from ssae_tf.export import onnx, openvino, savedmodel, tflite
from ssae_tf.export.names import FLOAT, PICTURE
from ssae_tf.export.serving import Serving, network_of

Run = Callable[..., dict[str, np.ndarray]]
SIZES = [(32, 48), (37, 91), (75, 41)]


@pytest.fixture(scope="module", params=["native", "resized"])
def ignoring(request: pytest.FixtureRequest) -> Detector:
    """A small network that ignores a ring of odd shape, single pixels and a border."""
    rng = np.random.default_rng(5)
    layers = tf.keras.layers
    inputs = tf.keras.Input((None, None, 3))
    initial = tf.keras.initializers.RandomNormal(stddev=0.5, seed=1)
    x = layers.Conv2D(3, 3, padding="same", activation="tanh", kernel_initializer=initial)(inputs)
    model = tf.keras.Model(inputs, layers.Add()([inputs, x]), name="ssae")
    changes = {
        "scoring.smoothing_sigma": 1.5,
        "scoring.ignore": "mask.png",
        "scoring.border": 3,
        "scoring.inspection_size": "native" if request.param == "native" else [24, 40],
    }
    mask = rng.random((21, 33)) < 0.05
    mask[4:15, 7:19] = True
    mask[9, 12] = False
    config = override(RunConfig(), changes)
    return Detector(model, config, Calibration(0.3, 4, (0.3,)), ignore_mask=mask)


@pytest.fixture(scope="module")
def saved(ignoring: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ignoring") / "saved_model"
    savedmodel.write(folder, Serving.of(ignoring), network_of(ignoring))
    return folder


@pytest.fixture(scope="module", params=["savedmodel", "tflite", "onnx", "openvino"])
def run(
    request: pytest.FixtureRequest,
    ignoring: Detector,
    saved: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """The graph in one of the runtimes."""
    folder = tmp_path_factory.mktemp("converted")
    if request.param == "savedmodel":
        return savedmodel.SavedModelRuntime(saved).run
    if request.param == "tflite":
        tflite.convert(str(saved), str(folder), "float32")
        return tflite.TfliteRuntime(folder).run
    if request.param == "onnx":
        onnx.convert(str(saved), str(folder), 0.3)
        return onnx.OnnxRuntime(folder).run
    pytest.importorskip("openvino")
    without = folder / "without_verdict"
    serving = Serving.of(ignoring, has_verdict=False)
    savedmodel.write(without, serving, network_of(ignoring), None, (FLOAT,))
    onnx.convert(str(without), str(folder))
    openvino.convert(str(folder))
    return openvino.OpenvinoRuntime(folder).run


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_map_is_the_detectors(run: Run, ignoring: Detector, rng: np.random.Generator) -> None:
    for size in SIZES:
        images = rng.random((2, *size, 3), dtype=np.float32)
        found = run(FLOAT, {PICTURE: images})
        ignored = ~ignoring.counted(*size)
        assert 0.2 < ignored.mean() < 0.8
        for image, map_, bound in zip(
            images, found["anomaly_map"], found["score_bound"], strict=True
        ):
            expected = ignoring.predict(image)
            assert (map_[ignored] == 0.0).all()
            assert (map_[~ignored] > 0.0).mean() > 0.9
            np.testing.assert_allclose(map_, expected.anomaly_map, atol=2e-5)
            assert bound == map_.max()


def test_a_defect_there_changes_nothing(run: Run, ignoring: Detector) -> None:
    quiet = np.full((1, 63, 99, 3), 0.5, np.float32)
    image = quiet.copy()
    image[:, 33:39, 44:52] = 1.0
    assert not ignoring.counted(63, 99)[33:39, 44:52].any()
    maps = [run(FLOAT, {PICTURE: one})["anomaly_map"] for one in (image, quiet)]
    np.testing.assert_allclose(*maps, atol=2e-5)
    everything = override(ignoring.config, {"scoring.ignore": None, "scoring.border": 0})
    plain = ignoring.replace(config=everything, ignore_mask=None)
    ordinary = [plain.inspect(one[0])[1] for one in (image, quiet)]
    assert np.abs(ordinary[0] - ordinary[1]).max() > 0.05
