"""A camera that ages: what the drift test says of a detector's scores of images that change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssae_tf.data.images import read_image
from ssae_tf.detector import Detector
from ssae_tf.sample_data.sample import write_sample_data
from ssae_tf.scoring.drift import DAY, Drift

A_DAY = 20
"""Images that are inspected in a day, drawn from 20 with replacement."""
BEGIN, END = 30, 90
"""Days on which a change begins, and service ends."""
_STEP = 15
"""Days after which the images are altered anew, by what the last of these days has."""
Change = Callable[[np.ndarray, int], np.ndarray]
FirstAlarm = Callable[[Change], float | None]


def _unchanged(image: np.ndarray, _: int) -> np.ndarray:
    return image


def _darker(image: np.ndarray, days: int) -> np.ndarray:
    """By 1 % a day."""
    return image * np.float32(0.99**days)


def _blurred(image: np.ndarray, days: int) -> np.ndarray:
    """By 0.05 pixels more a day."""
    return cv2.GaussianBlur(image, (0, 0), 0.05 * days)


def _moved(image: np.ndarray, _: int) -> np.ndarray:
    """By 8 pixels, at once."""
    return np.pad(image, ((8, 0), (8, 0), (0, 0)), mode="edge")[: len(image), : len(image)]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Good images."""
    root = tmp_path_factory.mktemp("ageing")
    write_sample_data(root, categories=("tile",), train=40, test_good=1, per_kind=1, size=64)
    return [read_image(path) for path in sorted((root / "tile/train/good").glob("*.png"))]


@pytest.fixture
def first_alarm(images: list[np.ndarray], run_folder: Path, shared_network: None) -> FirstAlarm:
    """The day on which drift is noticed, of half of the images in service; None for never."""
    detector = Detector.load(run_folder)

    def first(change: Change) -> float | None:
        scores = [detector.predict(image).score for image in images]
        drift = Drift(scores[::2], max(scores[::2]), alarms_per_year=0.1, seed=0)
        service, rng = scores[1::2], np.random.default_rng(0)
        for day in range(END):
            if day >= BEGIN and (day - BEGIN) % _STEP == 0:
                days = day - BEGIN + _STEP
                service = [detector.predict(change(image, days)).score for image in images[1::2]]
            for number, score in enumerate(rng.choice(service, A_DAY)):
                if drift.add(float(score), (day + number / A_DAY) * DAY) is not None:
                    return day
        return None

    return first


@pytest.mark.parametrize("change", [_darker, _blurred, _moved])
def test_a_camera_that_ages_is_noticed(change: Change, first_alarm: FirstAlarm) -> None:
    day = first_alarm(change)
    assert day is not None
    assert day >= BEGIN


def test_a_camera_that_stays_as_it_is_raises_no_alarm(first_alarm: FirstAlarm) -> None:
    assert first_alarm(_unchanged) is None
