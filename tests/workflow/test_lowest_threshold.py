"""The lowest threshold of a gate: ½ from few or seen images, where the gate reaches it at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf import calibration as calibration_module
from ssae_tf import config as config_module
from ssae_tf.data.mvtec import Sample
from ssae_tf.detector import Detector
from ssae_tf.scoring.conformal import FalseAlarmRate
from stand_ins import Listener
from untrained import write_image


def red_gate(share: float = 1.0) -> Detector:
    """Of a network whose gate is this share of the red channel."""
    inputs = tf.keras.Input((None, None, 3))
    outputs = tf.keras.layers.Lambda(lambda x: tf.concat([x, share * x[..., :1], x], axis=-1))(
        inputs
    )
    config = config_module.override(
        config_module.preset("quick"),
        {"model.standardize": False, "scoring.smoothing_sigma": 0.0, "min_area": 1},
    )
    return Detector(tf.keras.Model(inputs, outputs), config)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Dark images, each a little brighter than the one before."""
    made = [Sample(tmp_path / f"{number}.png", "good") for number in range(20)]
    for number, sample in enumerate(made):
        write_image(sample.path, np.full((32, 32, 3), 2 * number, np.uint8))
    return made


def test_a_gate_has_a_lowest_threshold_from_few_images_or_seen_ones(samples: list[Sample]) -> None:
    detector = red_gate()
    unseen, seen, few = (
        calibration_module.calibrated(detector, some, Listener(), seen=trained).calibration
        for some, trained in ((samples, ()), (samples, samples[:1]), (samples[:19], ()))
    )
    assert unseen is not None
    assert seen is not None
    assert few is not None
    assert unseen.threshold == pytest.approx(38 / 255)
    assert unseen.false_alarms == FalseAlarmRate(20)
    assert (seen.threshold, seen.false_alarms) == (0.5, None)
    assert (few.threshold, few.false_alarms) == (0.5, FalseAlarmRate(19))
    assert seen.scores == unseen.scores


def test_a_gate_that_no_corruption_opens_so_far_has_none(samples: list[Sample]) -> None:
    listener = Listener()
    calibration = calibration_module.calibrated(red_gate(0.4), samples[:19], listener).calibration
    assert calibration is not None
    assert calibration.threshold == pytest.approx(0.4 * 36 / 255)
    (warning,) = listener.warned
    assert warning.startswith("Corrupted copies of 8 of these images raise the map to 0.")
    assert "a threshold of 0.5 would find nothing" in warning
