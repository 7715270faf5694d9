"""Batches: the results of one by one, in order, whatever sizes come; and what an image may be."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssae_tf import batching, calibration
from ssae_tf.config import from_dict, override
from ssae_tf.data.mvtec import load_category
from ssae_tf.detector import Calibration, Detector
from ssae_tf.errors import DataError, RunError
from ssae_tf.evaluation import run as evaluation_run
from ssae_tf.progress import Reporter
from ssae_tf.run_data import run_split
from stand_ins import grey_network

SIZES = [(40, 56), (64, 64), (40, 56), (7, 9), (64, 64), (40, 56), (1, 1), (64, 64)]


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Images of mixed sizes, each of its own mean, so that none passes for another."""
    rng = np.random.default_rng(0)
    return [np.uint8(255 * rng.beta(k + 1, 3, (*size, 3))) for k, size in enumerate(SIZES)]


@pytest.mark.parametrize("inspection_size", [None, [32, 48]])
@pytest.mark.parametrize("size", [None, 1, 2, 8])
def test_a_batch_says_what_one_by_one_says(
    trained: Detector, images: list[np.ndarray], size: int | None, inspection_size: list[int] | None
) -> None:
    config = override(trained.config, {"scoring.inspection_size": inspection_size or "native"})
    detector = trained.replace(config=config)
    alone = [detector.predict(image) for image in images]
    # About half of the verdicts are of each kind, and one image has made the threshold.
    threshold = sorted(result.score for result in alone)[len(alone) // 2]
    alone = [detector.predict(image, threshold=threshold) for image in images]
    assert {result.is_anomalous for result in alone} == {True, False}
    found = detector.predict_batch(images, threshold=threshold, size=size)
    assert len(found) == len(images)
    for one, other, image in zip(found, alone, images, strict=True):
        assert one.is_anomalous == other.is_anomalous
        assert one.score == pytest.approx(other.score, abs=1e-6)
        assert one.anomaly_map.shape == image.shape[:2]
        np.testing.assert_allclose(one.anomaly_map, other.anomaly_map, atol=1e-6)
        assert one.reconstruction is not None
        assert other.reconstruction is not None
        np.testing.assert_allclose(one.reconstruction, other.reconstruction, atol=3e-6)
        np.testing.assert_array_equal(one.image, other.image)


def test_equal_sizes_go_through_the_network_together(images: list[np.ndarray]) -> None:
    shapes = []

    def inspect(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shapes.append(tuple(x.shape[:3]))
        return x, x[..., 0]

    units = [image.astype(np.float32) / 255 for image in images]
    found = batching.together(inspect, units, 2)
    assert shapes == [(2, 40, 56), (1, 40, 56), (2, 64, 64), (1, 64, 64), (1, 7, 9), (1, 1, 1)]
    for (reconstruction, map_), unit in zip(found, units, strict=True):
        np.testing.assert_array_equal(reconstruction, unit)
        np.testing.assert_array_equal(map_, unit[..., 0])


def test_lists_and_tuples_are_batches(trained: Detector, images: list[np.ndarray]) -> None:
    expected = [trained.predict(image).to_dict() for image in images[:3]]
    for given in (images[:3], tuple(images[:3])):
        found = trained.predict(given)
        assert [result.to_dict() for result in found] == expected
    assert [result.score for result in trained.predict([images[0]])] == [expected[0]["score"]]
    assert trained.predict([]) == []
    assert trained.predict_batch([]) == []


def test_rounding_of_a_batch_turns_no_verdict() -> None:
    """Of a network that answers a hair higher to batches."""
    inputs = tf.keras.Input((None, None, 3))
    outputs = tf.keras.layers.Lambda(
        lambda x: tf.zeros_like(x) + 0.5 - 1e-7 * tf.cast(tf.shape(x)[0], tf.float32)
    )(inputs)
    config = from_dict({"scoring": {"smoothing_sigma": 0.0}})
    detector = Detector(tf.keras.Model(inputs, outputs), config, Calibration(0.25, 1, (0.25,)))
    image = np.full((8, 8, 3), 0.75, np.float32)
    threshold = detector.predict(image, threshold=0.0).score
    higher = detector.inspect_batch([image] * 4, 4)[0][1].max()
    assert higher > threshold
    found = detector.predict_batch([image] * 4, threshold=threshold, size=4)
    assert [result.is_anomalous for result in found] == [False] * 4


def test_a_damaged_network_is_seen_in_a_batch() -> None:
    inputs = tf.keras.Input((None, None, 3))
    model = tf.keras.Model(inputs, tf.keras.layers.Rescaling(np.nan)(inputs))
    detector = Detector(model, from_dict({}), Calibration(0.1, 1, (0.1,)))
    with pytest.raises(RunError, match="NaN or infinity"):
        detector.predict([np.zeros((8, 8, 3), np.uint8)] * 2)


def test_without_a_threshold_nothing_is_inspected() -> None:
    with pytest.raises(RunError, match="calibrate it first"):
        Detector(grey_network(), from_dict({})).predict_batch([])


def test_a_cpu_sees_one_image_at_a_time() -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("a GPU is here")
    assert batching.batch_size() == 1


class TestPillow:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "I;16"])
    def test_an_image_has_the_pixels_of_its_file(
        self, trained: Detector, tmp_path: Path, mode: str, rng: np.random.Generator
    ) -> None:
        path = tmp_path / "image.png"
        if mode == "I;16":
            assert cv2.imwrite(str(path), rng.integers(0, 65536, (40, 56), np.uint16))
        else:
            colours = Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8))
            colours.convert(mode).save(path)
        with Image.open(path) as image:
            if image.mode == "I":
                pytest.skip("this Pillow opens 16-bit files with 32 bits")
            assert image.mode == mode
            found, expected = trained.predict(image), trained.predict(path)
        np.testing.assert_array_equal(found.image, expected.image)
        assert (found.path, found.score) == ("", expected.score)

    def test_it_is_turned_as_its_file_is(self, trained: Detector, tmp_path: Path) -> None:
        path = tmp_path / "turned.png"
        image = Image.fromarray(np.uint8(np.arange(40 * 56 * 3).reshape(40, 56, 3) % 251))
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
        with Image.open(path) as opened:
            found = trained.predict(opened)
        assert found.image.shape == (56, 40, 3)
        np.testing.assert_array_equal(found.image, trained.predict(path).image)

    @pytest.mark.parametrize("mode", ["I", "F"])
    def test_unknown_scales_are_refused(self, trained: Detector, mode: str) -> None:
        with pytest.raises(DataError, match=f"8 or 16 bits. Received: mode '{mode}'"):
            trained.predict(Image.new(mode, (8, 8)))


def test_what_is_no_image_is_refused(trained: Detector) -> None:
    with pytest.raises(DataError, match=r"image of Pillow. Received: builtins\.int"):
        trained.predict(3)  # type: ignore[call-overload]


def test_a_detector_says_what_it_is(trained: Detector) -> None:
    assert trained.calibration is not None
    assert repr(trained) == (
        "<Detector category='tile' preset='quick' network=plain, width 0.0625 "
        f"threshold={trained.calibration.threshold:.4g} inspection_size=native>"
    )
    bare = Detector(grey_network(), from_dict({"scoring": {"inspection_size": [64, 96]}}))
    assert "threshold=none inspection_size=64×96" in repr(bare)


class TestInBatches:
    """What a GPU does, on this machine."""

    @pytest.fixture(autouse=True)
    def _batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (batching, calibration, evaluation_run):
            monkeypatch.setattr(module, "batch_size", lambda: 3)

    def test_a_calibration_has_the_same_scores(
        self, trained: Detector, run_folder: Path, sample_root: Path
    ) -> None:
        split = run_split(run_folder, trained.config)[1]
        # Five: a batch that is full, and one that is not.
        samples = [*split.calibrate, *split.train][:5]
        found = calibration.calibrated(trained, samples, Reporter(quiet=True)).calibration
        assert found is not None
        maps = [trained.inspect(trained.predict(one.path).image)[1] for one in samples]
        expected = [calibration.image_score(map_, found.min_area) for map_ in maps]
        assert found.scores == pytest.approx(expected, abs=1e-6)
        names = [sample.path for sample in samples]
        assert len(set(names)) == 5

    def test_an_evaluation_has_the_same_verdicts(
        self, trained: Detector, sample_root: Path, tmp_path: Path
    ) -> None:
        root = shutil.copytree(sample_root / "tile", tmp_path / "tile")
        broken = sorted((root / "test" / "good").iterdir())[0]
        broken.write_bytes(b"\x89PNG\r\n\x1a\n")
        tested = load_category(tmp_path, "tile")
        config = override(trained.config, {"data.skip_unreadable": True})
        detector = trained.replace(config=config)
        _, evaluation = evaluation_run.measure_test_set(detector, tested, Reporter(quiet=True))
        expected = [trained.predict(one.path) for one in tested.test if one.path != broken]
        assert len(evaluation.verdicts) == len(expected) == 7
        for verdict, one in zip(evaluation.verdicts, expected, strict=True):
            assert one.path.endswith(verdict.path)
            assert verdict.is_anomalous == one.is_anomalous
            assert verdict.score == pytest.approx(one.score, abs=1e-6)

    def test_an_image_that_can_not_be_read_is_named(
        self, trained: Detector, sample_root: Path, tmp_path: Path
    ) -> None:
        root = shutil.copytree(sample_root / "tile", tmp_path / "tile")
        broken = sorted((root / "test" / "crack").iterdir())[1]
        broken.write_bytes(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(DataError, match=re.escape(str(broken))):
            evaluation_run.measure_test_set(
                trained, load_category(tmp_path, "tile"), Reporter(quiet=True)
            )
