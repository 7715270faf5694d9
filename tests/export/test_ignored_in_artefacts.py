"""What a detector ignores, its artefacts ignore, to the pixel, in whatever views they see it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import RunConfig, override
from ssae_tf.detector import Calibration, Detector
from ssae_tf.export.formats import onnx, openvino, savedmodel, tflite
from ssae_tf.export.names import FLOAT, PICTURE
from ssae_tf.export.serving import Serving

Run = Callable[..., dict[str, np.ndarray]]
SIZES = [(32, 48), (37, 91), (75, 41)]


# Where a map isn't resized to its image, what counts of it is the same graph in every format.
RUNS = [
    *(("resized", name) for name in ("savedmodel", "openvino")),
    *(("turned", name) for name in ("savedmodel", "tflite", "onnx", "openvino")),
    *(("mirrored", name) for name in ("savedmodel", "onnx")),
    ("native", "savedmodel"),
]
INSPECTION_SIZES = {"resized": [24, 40], "turned": [40, 40], "mirrored": "native"}


@pytest.fixture(scope="module")
def ignoring(size: str) -> Detector:
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
        "scoring.inspection_size": INSPECTION_SIZES.get(size, "native"),
        "scoring.test_time_augmentation": size in ("turned", "mirrored"),
    }
    mask = rng.random((21, 33)) < 0.05
    mask[4:15, 7:19] = True
    mask[9, 12] = False
    config = override(RunConfig(), changes)
    return Detector(model, config, Calibration(0.3, 4, (0.3,)), ignore_mask=mask)


@pytest.fixture(scope="module")
def saved(ignoring: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ignoring") / "saved_model"
    serving = Serving.of(ignoring, has_verdict=False)
    savedmodel.write(folder, serving, ignoring.folded, None, tflite.SIGNATURES)
    return folder


@pytest.fixture(scope="module")
def onnx_files(saved: Path) -> Path:
    folder = saved.parent / "onnx"
    folder.mkdir()
    onnx.convert(str(saved), str(folder))
    return folder


@pytest.fixture(scope="module")
def run(format_name: str, saved: Path, request: pytest.FixtureRequest) -> Run:
    """The graph in one of the runtimes."""
    if format_name == "savedmodel":
        return savedmodel.SavedModelRuntime(saved).run
    if format_name == "tflite":
        tflite.convert(str(saved), str(saved.parent), "float32")
        return tflite.TfliteRuntime(saved.parent).run
    folder = request.getfixturevalue("onnx_files")
    if format_name == "onnx":
        return onnx.OnnxRuntime(folder).run
    pytest.importorskip("openvino")
    copy = shutil.copytree(folder, saved.parent / "openvino")
    openvino.convert(str(copy))
    return openvino.OpenvinoRuntime(copy).run


@pytest.mark.parametrize(("size", "format_name"), RUNS, scope="module")
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


@pytest.mark.parametrize(("size", "format_name"), RUNS, scope="module")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
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
