"""`ssae-tf calibrate`: a new threshold for a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

Invoke = Callable[..., Any]


@pytest.fixture
def run_copy(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the shared run."""
    return shutil.copytree(run_folder, tmp_path / "copy")


def _calibration(run: Path) -> Any:
    return json.loads((run / "calibration.json").read_text())


def test_min_area(invoke: Invoke, run_copy: Path) -> None:
    before = _calibration(run_copy)
    done = invoke("calibrate", run_copy, "--min-area", "200")
    after = _calibration(run_copy)
    assert done.code == 0
    assert done.out == [f"threshold {after['threshold']!r}", "min_area 200"]
    assert after["min_area"] == 200
    assert after["threshold"] < before["threshold"]
    assert done.err[0].startswith("Threshold ")
    assert "`ssae-tf evaluate" in done.error


def test_data(invoke: Invoke, run_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    for number in range(4):
        pixels = np.full((24, 24, 3), 40 * number, np.uint8)
        assert cv2.imwrite(str(tmp_path / "good" / f"{number}.png"), pixels)
    before = _calibration(run_copy)
    done = invoke("calibrate", run_copy, "--data", tmp_path / "good")
    assert done.code == 0
    after = _calibration(run_copy)
    assert (before["n_calibration"], after["n_calibration"]) == (3, 4)
    assert after["threshold"] != before["threshold"]


def test_quiet(invoke: Invoke, run_copy: Path) -> None:
    done = invoke("calibrate", run_copy, "--quiet")
    assert (done.code, len(done.out), done.err) == (0, 2, [])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--min-area", "0"], 2, "0 is not in the range"),
        (["--data", "nowhere"], 1, "nowhere: no such folder."),
    ],
)
def test_what_is_refused_changes_nothing(
    arguments: list[str], code: int, message: str, invoke: Invoke, run_copy: Path
) -> None:
    before = _calibration(run_copy)
    done = invoke("calibrate", run_copy, *arguments)
    assert (done.code, done.out) == (code, [])
    assert message in done.error
    assert _calibration(run_copy) == before


def test_an_unfinished_run(invoke: Invoke, run_copy: Path) -> None:
    (run_copy / "calibration.json").unlink()
    done = invoke("calibrate", run_copy)
    assert done.code == 1
    assert done.err == [
        f"Error: {run_copy}: has no calibration.json, so this is no finished run of `ssae-tf fit`."
    ]
