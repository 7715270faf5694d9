"""What functions refuse in Python is an error of ours, before it costs anything."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ssae_tf import workflow
from ssae_tf.config import RunConfig
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, InputError, RunError
from ssae_tf.result import as_unit
from stand_ins import grey_network


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan, math.inf])
def test_a_budget_is_a_time(minutes: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Expected minutes above 0, and finite"):
        workflow.fit(tmp_path / "nowhere", out=tmp_path / "run", minutes=minutes)
    assert not (tmp_path / "run").exists()


def test_a_detector_without_threshold_is_not_measured(tmp_path: Path) -> None:
    detector = Detector(grey_network(), RunConfig())
    with pytest.raises(RunError, match="has no threshold yet: calibrate it first"):
        workflow.evaluate(detector, data=tmp_path)


@pytest.mark.parametrize(
    ("array", "received"),
    [
        (np.zeros((4, 4), int), "int64 from 0 to 0"),
        (np.full((4, 4), 255.0), "float64 from 255.0 to 255.0"),
        (np.full((4, 4), np.nan), "float64 from nan to nan"),
        (np.zeros((4, 4), bool), "bool from False to False"),
        (np.full((4, 4), None), "object"),
        (np.full((4, 4), "a"), "<U1"),
        (np.zeros((4, 4), complex), "complex128"),
    ],
)
def test_an_array_that_is_no_image(array: np.ndarray, received: str) -> None:
    with pytest.raises(DataError) as caught:
        as_unit(array, 65535)
    assert str(caught.value).endswith(f"Received: {received}.")
