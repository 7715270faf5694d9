"""The serving function: the detector's map and verdict, for every setting of the scoring."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import RunConfig, override
from ssae_tf.detector import Calibration, Detector
from ssae_tf.errors import RunError
from ssae_tf.export.serving import Serving, float32_below

SHAPES = [(1, 1), (8, 8), (37, 91), (40, 25)]

Run = Callable[..., dict[str, np.ndarray]]


def _function(detector: Detector, **changes: Any) -> Run:
    """The serving function in a graph that knows no shapes."""
    serving = dataclasses.replace(Serving.of(detector), **changes)
    limit = tf.TensorSpec((None,), tf.float32)
    graph = tf.function(
        lambda x, level: serving(detector.folded, x, level),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32), limit],
        autograph=False,
    )

    def run(x: np.ndarray, threshold: float | None = None) -> dict[str, np.ndarray]:
        level = float32_below(serving.threshold if threshold is None else threshold)
        return {name: value.numpy() for name, value in graph(x, np.array([level])).items()}

    return run


# Maps in the images' own pixels.
UNCHANGED = {"scoring.smoothing_sigma": 0.0, "scoring.inspection_size": "native"}


@pytest.mark.parametrize(
    ("changes", "largest"),
    [
        ({"scoring.reading": "euclidean", "scoring.smoothing_sigma": 1.5}, 4e-6),
        ({"scoring.inspection_size": [24, 40]}, 4e-6),
        # The size of the last stage.
        ({"scoring.inspection_size": None, "scoring.smoothing_sigma": 0.0}, 4e-6),
        # Resizing rounds in another order here and there, and the network enlarges that.
        ({"scoring.inspection_size": [56, 72]}, 2e-5),
    ],
)
def test_same_as_the_detector(
    changes: dict[str, Any], largest: float, trained: Detector, rng: np.random.Generator
) -> None:
    config = override(trained.config, changes)
    calibration = Calibration(0.0, 9, (0.0,))
    detector = trained.replace(config=config, calibration=calibration)
    x = rng.random((2, 37, 91, 3), dtype=np.float32)
    # Between the two, so that verdicts differ.
    threshold = float(np.mean([detector.predict(one).score for one in x]))
    found = _function(detector)(x, threshold)
    for index, image in enumerate(x):
        expected = detector.predict(image, threshold=threshold)
        for name in ("anomaly_map", "reconstruction"):
            np.testing.assert_allclose(found[name][index], getattr(expected, name), atol=largest)
        assert found["is_anomalous"][index] == expected.is_anomalous
        assert found["score_bound"][index] == found["anomaly_map"][index].max()
    assert sorted(found["is_anomalous"]) == [False, True]
    np.testing.assert_allclose(found["threshold"], [threshold] * 2, rtol=1e-6)
    assert found["min_area"].tolist() == [9, 9]


def test_flat_images(trained: Detector) -> None:
    run = _function(trained)
    for shape in SHAPES:
        x = np.full((1, *shape, 3), 0.5, np.float32)
        found = run(x)
        expected = trained.predict(x[0])
        np.testing.assert_allclose(found["anomaly_map"][0], expected.anomaly_map, atol=1e-4)
        assert found["is_anomalous"][0] == expected.is_anomalous
        # An image smaller than min_area is judged as a whole.
        assert found["min_area"][0] == min(trained.calibration.min_area, shape[0] * shape[1])


def test_one_pixel_is_enough_where_min_area_is_one(grey: tf.keras.Model) -> None:
    config = override(RunConfig(), UNCHANGED)
    detector = Detector(grey, config, Calibration(0.25, 1, (0.25,)))
    x = np.full((2, 16, 16, 3), 0.5, np.float32)
    x[1, 3, 15] = 1.0
    found = _function(detector)(x)
    assert found["is_anomalous"].tolist() == [False, True]
    assert found["score_bound"].tolist() == [0.0, 0.5]
    assert not _function(detector, min_area=2)(x)["is_anomalous"].any()


def test_the_map_must_exceed_the_threshold(grey: tf.keras.Model) -> None:
    """At 0.1, which no float32 is, and at the map's own value, which is not greater."""
    config = override(RunConfig(), UNCHANGED)
    x = np.full((1, 8, 8, 3), 0.5, np.float32)
    x[0, 0, 0] = 0.5 + np.float32(0.1)
    level = float(np.abs(x[0, 0, 0] - np.float32(0.5)).mean(dtype=np.float32))
    detector = Detector(grey, config, Calibration(0.1, 1, (0.1,)))
    run = _function(detector)
    for threshold in (level, np.nextafter(level, 0.0), np.nextafter(level, 1.0), 0.1):
        expected = detector.predict(x[0], threshold=float(threshold)).is_anomalous
        assert run(x, float(threshold))["is_anomalous"][0] == expected, threshold


def test_outputs_that_are_left_out(grey: tf.keras.Model) -> None:
    detector = Detector(grey, RunConfig(), Calibration(0.1, 1, (0.1,)))
    x = np.zeros((1, 8, 8, 3), np.float32)
    names = {"anomaly_map", "score_bound", "threshold", "min_area"}
    assert set(_function(detector, has_verdict=False, has_reconstruction=False)(x)) == names
    assert set(_function(detector, has_verdict=False)(x)) == {*names, "reconstruction"}


def test_rounding_of_thresholds() -> None:
    assert float32_below(0.5) == 0.5
    assert float(float32_below(0.1)) < 0.1 < float(np.float32(0.1))
    assert float(float32_below(0.3)) <= 0.3
    for value in np.random.default_rng(0).random(100):
        below = float32_below(value)
        assert float(below) <= value < float(np.nextafter(below, np.float32(2.0)))


def test_a_detector_without_threshold(grey: tf.keras.Model) -> None:
    with pytest.raises(RunError, match="no threshold yet"):
        Serving.of(Detector(grey, RunConfig()))
