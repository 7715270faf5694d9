"""The detector: the same verdict however an image comes, in its own pixels, or a clear refusal.

Where figures are checked, the network is replaced by one that answers mid-grey everywhere: the map
is then |X − 0.5|, and everything can be computed by hand.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.config import RunConfig, from_dict, override
from ssae_tf.data.cache import resize
from ssae_tf.detector import Calibration, Detector
from ssae_tf.errors import DataError, InputError, RunError
from ssae_tf.result import post_process
from stand_ins import assert_same

MakeDetector = Callable[..., Detector]


@pytest.fixture
def make(grey: tf.keras.Model) -> MakeDetector:
    """A calibrated detector with F(X) = 0.5; the arguments are fields of the scoring."""

    def detector(threshold: float = 0.1, min_area: int = 1, **scoring: Any) -> Detector:
        values = {"scoring": {"smoothing_sigma": 0.0, "inspection_size": "native", **scoring}}
        return Detector(grey, from_dict(values), Calibration(threshold, min_area, (threshold,)))

    return detector


def test_a_gates_defects_end_at_the_outline() -> None:
    """Of a network whose gate is the red channel."""
    inputs = tf.keras.Input((None, None, 3))
    outputs = tf.keras.layers.Lambda(lambda x: tf.concat([x, x[..., :1], x], axis=-1))(inputs)
    gate = {"smoothing_sigma": 0.0, "evidence": "gate", "outline": 0.5}
    stages = [{"size": 32, "batch_size": 1, "steps": 1}]
    config = from_dict(
        {"model": {"answer": "gated"}, "scoring": gate, "training": {"stages": stages}}
    )
    model = tf.keras.Model(inputs, outputs)
    image = np.zeros((32, 32, 3), np.float32)
    image[4:8, 4:12, 0], image[5, 5, 0] = 0.6, 0.9
    image[20:24, 20:24, 0] = 0.7
    for threshold, expected in ((0.8, 32), (0.65, 32 + 16), (0.95, 0)):
        result = Detector(model, config, Calibration(threshold, 1, (threshold,))).predict(image)
        assert result.mask.sum() == expected
        assert sum(defect.area for defect in result.defects) == expected
    without = override(config, {"scoring.outline": None})
    assert Detector(model, without, Calibration(0.8, 1, (0.8,))).predict(image).mask.sum() == 1


@pytest.fixture(scope="module")
def strict(trained: Detector) -> Detector:
    """The same network with a threshold that no image passes."""
    return Detector(trained.model, trained.config, Calibration(0.0, 3, (0.0,)))


def _with_square(
    shape: tuple[int, int], box: tuple[int, int, int, int], level: float = 1.0
) -> np.ndarray:
    """(H, W, 3) mid-grey with a square (x, y, width, height) of another level."""
    image = np.full((*shape, 3), 0.5, np.float32)
    x, y, width, height = box
    image[y : y + height, x : x + width] = level
    return image


def _write(path: Path, pixels: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    return path


@pytest.mark.parametrize(("threshold", "min_area"), [(np.nan, 1), (np.inf, 1), (-1.0, 1), (0.1, 0)])
def test_a_calibration_that_judges_nothing_is_not_made(threshold: float, min_area: int) -> None:
    with pytest.raises(InputError, match=r"Argument `(threshold|min_area)` should be"):
        Calibration(threshold, min_area, ())


@pytest.mark.parametrize("threshold", [np.nan, np.inf, -0.5, "0.1", None, True])
def test_a_given_threshold_is_a_level(make: MakeDetector, threshold: Any) -> None:
    detector = make()
    image = np.zeros((8, 8), np.uint8)
    if threshold is None:
        assert detector.predict(image, threshold=None).threshold == 0.1
        return
    with pytest.raises(InputError, match="Argument `threshold` should be"):
        detector.predict(image, threshold=threshold)


@pytest.mark.parametrize(
    ("map_", "message"),
    [
        (np.ones((4, 6)), "expected an anomaly map of 4×5 pixels, as the image has"),
        (np.ones((1, 4, 5)), "expected an anomaly map of 4×5 pixels"),
        (np.full((4, 5), np.nan), "has NaN or infinity"),
        (np.full((4, 5), -1.0), "has negative values"),
    ],
)
def test_maps_that_say_nothing_of_an_image(map_: np.ndarray, message: str) -> None:
    with pytest.raises(RunError, match=f"^The server: .*{message}"):
        post_process("", np.zeros((4, 5, 3), np.float32), None, map_, 0.1, 1, source="The server")


@pytest.mark.parametrize("level", [np.nan, np.inf])
def test_broken_weights_are_not_taken_for_a_verdict(level: float) -> None:
    inputs = tf.keras.Input((None, None, 3))
    model = tf.keras.Model(inputs, tf.keras.layers.Rescaling(0.0, level)(inputs))
    detector = Detector(model, RunConfig(), Calibration(0.1, 1, (0.1,)))
    with pytest.raises(RunError, match="NaN or infinity: its weights are damaged"):
        detector.predict(np.zeros((16, 16), np.uint8))


# Images.


def test_a_path_and_an_array_are_the_same(
    trained: Detector, sample_root: Path, tmp_path: Path
) -> None:
    path = sample_root / "tile" / "test" / "crack" / "000.png"
    pixels = cv2.imread(str(path))[..., ::-1]
    expected = trained.predict(path)
    unit = pixels.astype(np.float32) / 255
    # The last two are views with other strides.
    mirrored = np.ascontiguousarray(unit[:, ::-1])[:, ::-1]
    turned = np.asfortranarray(unit)
    for image in (str(path), pixels, unit, unit.astype(np.float64), mirrored, turned):
        assert_same(trained.predict(image), expected)
    assert trained.predict(pixels).path == ""


def test_a_grey_image_is_repeated(make: MakeDetector, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    detector = make()
    expected = detector.predict(np.repeat(pixels[..., None], 3, axis=-1))
    assert_same(detector.predict(pixels), expected)
    assert_same(detector.predict(_write(tmp_path / "grey.png", pixels)), expected)


def test_white_level(grey: tf.keras.Model, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 1200, (20, 30, 3), np.uint16)
    config = from_dict({"data": {"white_level": 1023}})
    detector = Detector(grey, config, Calibration(0.1, 1, (0.1,)))
    result = detector.predict(pixels)
    np.testing.assert_allclose(result.image, np.minimum(pixels / 1023, 1.0), rtol=1e-6)
    assert_same(detector.predict(_write(tmp_path / "deep.png", pixels)), result)
    # It is for 16-bit images only.
    white = detector.predict(np.full((8, 8, 3), 255, np.uint8)).image
    np.testing.assert_array_equal(white, 1.0)


@pytest.mark.parametrize(
    ("array", "received"),
    [
        (np.zeros((8, 8, 4), np.uint8), "(8, 8, 4)"),
        (np.zeros((8, 8, 1), np.uint8), "(8, 8, 1)"),
        (np.zeros((1, 8, 8, 3), np.uint8), "(1, 8, 8, 3)"),
        (np.zeros(8, np.uint8), "(8,)"),
        (np.zeros((0, 8, 3), np.uint8), "(0, 8, 3)"),
        (np.zeros((8, 8), np.int64), "int64 from 0 to 0"),
        (np.zeros((8, 8), bool), "bool from False to False"),
        (np.full((8, 8), 255.0), "float64 from 255.0 to 255.0"),
        (np.full((8, 8), -0.1, np.float32), "float32 from -0.1"),
        (np.full((8, 8), np.nan), "float64 from nan to nan"),
    ],
)
def test_other_arrays_are_refused(make: MakeDetector, array: np.ndarray, received: str) -> None:
    with pytest.raises(DataError) as caught:
        make().predict(array)
    assert str(caught.value).startswith("Expected ")
    assert f"Received: {received}" in str(caught.value)


def test_a_missing_file_is_named(make: MakeDetector, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: can't be read"):
        make().predict(tmp_path / "a.png")


# Sizes.


@pytest.mark.parametrize(
    "shape", [(37, 53), (53, 37), (64, 64), (7, 5), (1, 40), (40, 1), (1, 1), (2, 9)]
)
def test_any_size_in_its_own_pixels(strict: Detector, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((*shape, 3), np.float32)
    result = strict.predict(image)
    assert result.image.shape == result.reconstruction.shape == (*shape, 3)
    assert result.anomaly_map.shape == result.mask.shape == shape
    assert result.anomaly_map.dtype == np.float32
    assert np.isfinite(result.reconstruction).all()
    assert result.is_anomalous
    # Everything is above 0, so that the defect is the image.
    assert [defect.box for defect in result.defects] == [(0, 0, shape[1], shape[0])]
    assert result.defects[0].area == result.mask.sum() == shape[0] * shape[1]


def test_padding_is_cropped_before_smoothing(trained: Detector) -> None:
    image = np.random.default_rng(0).random((37, 53, 3), np.float32)
    config = trained.config
    result = Detector(trained.model, config, trained.calibration).predict(image)
    padded = np.pad(image, [(0, -37 % 8), (0, -53 % 8), (0, 0)], mode="symmetric")
    answer = trained.model(padded[None], training=False).numpy()[0, :37, :53]
    np.testing.assert_allclose(result.reconstruction, answer, atol=1e-5)
    residual = np.abs(answer.astype(np.float64) - image).mean(axis=-1)
    expected = ndimage.gaussian_filter(residual, config.scoring.sigma)
    np.testing.assert_allclose(result.anomaly_map, expected, atol=1e-5)


@pytest.mark.parametrize("box", [(5, 7, 11, 3), (0, 0, 1, 1), (50, 30, 3, 7)])
def test_a_box_is_where_the_defect_is(make: MakeDetector, box: tuple[int, int, int, int]) -> None:
    result = make().predict(_with_square((37, 53), box))
    (defect,) = result.defects
    assert defect.box == box
    assert defect.area == box[2] * box[3] == result.mask.sum()
    assert defect.peak == result.score == 0.5
    assert defect.mean == pytest.approx(0.5)


@pytest.mark.parametrize(("size", "factor"), [((32, 64), 0.5), ((128, 256), 2.0)])
def test_inspection_size_gives_results_in_the_images_pixels(
    make: MakeDetector, size: tuple[int, int], factor: float
) -> None:
    image = _with_square((64, 128), (40, 16, 24, 20))
    detector = make(inspection_size=size)
    assert detector.inspection_size == size
    result = detector.predict(image)
    assert result.image.shape == result.reconstruction.shape == (64, 128, 3)
    np.testing.assert_array_equal(result.image, image)
    seen = np.abs(resize(image, *size) - 0.5).mean(axis=-1)
    np.testing.assert_allclose(result.anomaly_map, resize(seen, 64, 128), atol=1e-6)
    (defect,) = result.defects
    assert np.abs(np.subtract(defect.box, (40, 16, 24, 20))).max() <= 2


def test_inspection_size_of_a_run(grey: tf.keras.Model) -> None:
    stages = [{"size": size, "batch_size": 1, "steps": 1} for size in (16, 32)]
    values: dict[str, Any] = {"training": {"stages": stages}}
    assert Detector(grey, from_dict(values)).inspection_size == (32, 32)
    values["scoring"] = {"inspection_size": "native"}
    assert Detector(grey, from_dict(values)).inspection_size is None
    values["scoring"] = {"inspection_size": [16, 64]}
    assert Detector(grey, from_dict(values)).inspection_size == (16, 64)


def test_an_image_smaller_than_min_area(make: MakeDetector) -> None:
    result = make(threshold=0.1, min_area=100).predict(np.full((5, 6, 3), 0.9, np.float32))
    assert result.is_anomalous
    assert result.mask.all()
    assert [defect.area for defect in result.defects] == [30]


def test_a_flat_grey_image(trained: Detector) -> None:
    for level in (0, 128, 255):
        result = trained.predict(np.full((24, 24), level, np.uint8))
        assert np.isfinite(result.score)
        assert result.is_anomalous == (result.score > result.threshold)
    flat = np.full((24, 24), 0.5, np.float32)
    # Nothing like it is normal, but its residual is as flat as itself.
    assert trained.predict(flat).anomaly_map.std() < 0.2


def test_another_calibration_leaves_the_map_alone(trained: Detector) -> None:
    before = trained.calibration
    assert before is not None
    other = trained.replace(calibration=dataclasses.replace(before, threshold=1e9))
    image = np.random.default_rng(0).random((40, 48, 3), np.float32)
    np.testing.assert_array_equal(other.inspect(image)[1], trained.inspect(image)[1])
    assert not other.predict(image).is_anomalous
    assert trained.calibration is before


# Verdicts.


@pytest.mark.parametrize("threshold", [0.4, 0.25, 0.1, 1 / 3])
def test_a_score_equal_to_the_threshold_is_normal(make: MakeDetector, threshold: float) -> None:
    image = _with_square((16, 16), (4, 4, 5, 5), 0.5 + threshold)
    score = make().predict(image).score
    assert score == pytest.approx(threshold, abs=1e-6)

    normal = make(threshold=score).predict(image)
    assert (normal.score, normal.is_anomalous, normal.defects) == (score, False, ())
    assert not normal.mask.any()

    anomalous = make(threshold=float(np.nextafter(score, 0))).predict(image)
    assert (anomalous.score, anomalous.is_anomalous) == (score, True)
    assert len(anomalous.defects) == 1
    assert anomalous.mask.sum() == 25


def test_min_area_decides_what_is_a_defect(make: MakeDetector) -> None:
    image = _with_square((32, 32), (4, 4, 3, 3), 1.0)
    image[20:25, 20:25] = 0.75
    small, large = make(min_area=9).predict(image), make(min_area=10).predict(image)
    assert (small.score, large.score) == (0.5, 0.25)
    assert [defect.area for defect in small.defects] == [9, 25]
    assert [defect.area for defect in large.defects] == [25]
    nothing = make(min_area=26).predict(image)
    assert (nothing.score, nothing.is_anomalous) == (0.0, False)


def test_a_result_is_a_line_of_json(make: MakeDetector, tmp_path: Path) -> None:
    pixels = np.round(_with_square((16, 16), (2, 3, 4, 5)) * 255).astype(np.uint8)
    path = _write(tmp_path / "a.png", pixels)
    line = json.loads(json.dumps(make(threshold=0.25).predict(path).to_dict()))
    (defect,) = line.pop("defects")
    assert line == {
        "schema_version": 1,
        "path": str(path),
        "score": 0.5,
        "p_value": None,
        "threshold": 0.25,
        "is_anomalous": True,
    }
    assert defect == {"box": [2, 3, 4, 5], "area": 20, "peak": 0.5, "mean": 0.5}
    # Arrays would fill the screen.
    assert len(repr(make().predict(path))) < 400
