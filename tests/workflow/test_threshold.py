"""The threshold: by hand, from the run's own images or others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssae_tf import config as config_module
from ssae_tf import workflow
from ssae_tf.config import RunConfig
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError
from stand_ins import Listener
from untrained import bright, json_of, opened, truncate, write_image


@pytest.mark.parametrize(
    ("min_area", "level"), [(1, 1.0), (2, 0.9), (3, 0.9), (4, 0.8), (9, 0.8), (10, 128 / 255)]
)
def test_the_threshold_by_hand(
    min_area: int, level: float, fit: Callable[..., workflow.Fitted], tmp_path: Path
) -> None:
    for number, (brightness, area) in enumerate([(1.0, 1), (0.9, 3), (0.8, 9)]):
        write_image(tmp_path / "good" / f"{number}.png", bright(brightness, area))
    run = fit().folder
    detector = workflow.calibrate(
        run, data=tmp_path / "good", min_area=min_area, reporter=Listener()
    )
    assert detector.calibration is not None
    expected = round(255 * level) / 255 - 0.5
    assert detector.calibration.threshold == pytest.approx(expected, abs=1e-6)
    assert detector.calibration.min_area == detector.config.min_area == min_area
    loaded = Detector.load(run)
    assert loaded.calibration == detector.calibration
    assert loaded.config.min_area == min_area


def test_another_min_area_on_the_runs_own_images(
    run_folder: Path, sample_root: Path, tmp_path: Path, listener: Listener, shared_network: None
) -> None:
    run = shutil.copytree(run_folder, tmp_path / "copy")
    before = json_of(run / "calibration.json")
    weights = (run / "weights.npz").read_bytes()
    detector = workflow.calibrate(run, min_area=200, reporter=listener)
    after = json_of(run / "calibration.json")
    scores = []
    for name in json_of(run / "split.json")["calibrate"]:
        image = cv2.imread(str(sample_root / "tile" / name))[..., ::-1].astype(np.float32) / 255
        scores.append(opened(detector.inspect(image)[1], 200))
    assert after["scores"] == scores
    assert after["threshold"] == max(scores) < before["threshold"]
    assert after["min_area"] == 200
    assert (run / "weights.npz").read_bytes() == weights
    assert any("metrics.json is still that of the threshold before" in s for s in listener.said)
    # Without another it keeps the run's setting, which is now 200.
    workflow.calibrate(run, reporter=listener)
    assert json_of(run / "calibration.json") == after


@pytest.mark.parametrize(
    ("changes", "min_area"),
    [
        ({}, 6),
        ({"scoring.smoothing_sigma": 4.0}, 70),
        # Smoothed at a sixth of the width, a pixel spreads over six times as many.
        ({"scoring.smoothing_sigma": 1.0, "scoring.inspection_size": [32, 48]}, 170),
        ({"scoring.smoothing_sigma": 4.0, "min_area": 17}, 17),
    ],
)
def test_the_default_min_area_follows_images_and_smoothing(
    changes: dict[str, Any],
    min_area: int,
    fit: Callable[..., workflow.Fitted],
    config: RunConfig,
    root: Path,
) -> None:
    for path in (root / "tile" / "train" / "good").iterdir():
        write_image(path, np.zeros((100, 300, 3), np.uint8))
    calibration = fit(config=config_module.override(config, changes)).detector.calibration
    assert calibration is not None
    assert calibration.min_area == min_area


def test_smaller_images_than_min_area(
    fit: Callable[..., workflow.Fitted], config: RunConfig
) -> None:
    changed = config_module.override(config, {"min_area": 64 * 64 + 1})
    fitted = fit(config=changed)
    assert fitted.metrics is not None
    assert fitted.metrics["min_area"] == 64 * 64 + 1


def test_the_threshold_never_sees_the_test_images(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    """Neither their labels nor their pixels."""
    first = fit()
    test = root / "tile" / "test"
    # Labels: what was good is now called crack, and the reverse.
    for old, new in (("good", "x"), ("crack", "good"), ("x", "crack")):
        (test / old).rename(test / new)
    swapped = fit(overwrite=True)
    for path in test.glob("*/*"):
        truncate(path)
    recalibrated = workflow.calibrate(swapped.folder, reporter=Listener())
    shutil.rmtree(test)
    untested = fit(overwrite=True)
    assert untested.metrics is None
    assert first.metrics != swapped.metrics
    calibrations = [run.detector.calibration for run in (first, swapped, untested)]
    assert calibrations == [recalibrated.calibration] * 3


def test_calibration_keeps_to_the_images_of_the_run(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    """Images added later could move some that were trained on into the calibration part."""
    fitted = fit()
    good = root / "tile" / "train" / "good"
    for number in range(100, 140):
        shutil.copy(good / "000.png", good / f"{number}.png")
    detector = workflow.calibrate(fitted.folder, reporter=Listener())
    assert detector.calibration == fitted.detector.calibration


def test_validation_images_are_for_the_threshold(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    write_image(root / "tile" / "validation" / "good" / "a.png", bright(0.75, 5))
    calibration = fit().detector.calibration
    assert calibration is not None
    assert calibration.scores == (pytest.approx(191 / 255 - 0.5, abs=1e-6),)


def test_images_of_one_name_are_told_apart(
    fit: Callable[..., workflow.Fitted], root: Path, listener: Listener
) -> None:
    for camera, number in (("cam1", 0), ("cam2", 1)):
        folder = root / "tile/validation/good" / camera
        folder.mkdir(parents=True)
        shutil.copy(root / f"tile/train/good/{number:03}.png", folder / "0.png")
    run = fit().folder
    (line,) = [line for line in listener.said if line.startswith("Highest: ")]
    assert {"cam1/0.png", "cam2/0.png"} <= set(line.split())
    kept = workflow.calibrate(run, without=["cam1/0.png"], reporter=Listener()).calibration
    assert kept is not None
    assert len(kept.scores) == 1
    with pytest.raises(DataError, match=r"the name of one .*, found validation/good/cam1/0\.png, "):
        workflow.calibrate(run, without=["0.png"], reporter=Listener())


def test_what_calibration_passes_over_is_told(
    fit: Callable[..., workflow.Fitted], root: Path, listener: Listener
) -> None:
    run = fit().folder
    good = root / "tile/train/good"
    (good / "later").mkdir()
    (good / "000.png").rename(good / "later/000.png")
    listener.warned.clear()
    workflow.calibrate(run, data=good, reporter=listener)
    assert listener.warned == [f"{good}: images in its folders are left out: later."]
