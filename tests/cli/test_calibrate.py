"""`ssae-tf calibrate`: a new threshold for a run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

Invoke = Callable[..., Any]


def _calibration(run: Path) -> Any:
    return json.loads((run / "calibration.json").read_text())


def _said(done: Any) -> list[str]:
    """What it says but for progress, which a busy machine has lines of."""
    return [line for line in done.err if not re.match(r"[A-Z][\w ]+: \d+/\d+", line)]


def test_min_area(invoke: Invoke, run_copy: Path) -> None:
    before = _calibration(run_copy)
    done = invoke("calibrate", run_copy, "--min-area", "200")
    after = _calibration(run_copy)
    assert done.code == 0
    assert done.out == [f"threshold {after['threshold']!r}", "min_area 200"]
    assert after["min_area"] == 200
    assert after["threshold"] < before["threshold"]
    assert _said(done)[0].startswith("Threshold ")
    assert "`ssae-tf evaluate" in done.error


def test_says_which_images_make_the_threshold(
    invoke: Invoke, run_copy: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        # The more contrast, the higher the score: 11.png stands out.
        contrast = 120 if number == 11 else 2 * number
        pixels = 128 + contrast * rng.uniform(-1, 1, (48, 48, 1)).repeat(3, axis=2)
        assert cv2.imwrite(str(folder / f"{number}.png"), pixels.astype(np.uint8))
    done = invoke("calibrate", run_copy, "--data", folder)
    scores = _calibration(run_copy)["scores"]
    named = _said(done)[1].removeprefix("Highest: ").split("; ")[0].split(", ")
    ranked = sorted(scores, reverse=True)
    assert [float(part.split()[1]) for part in named] == pytest.approx(ranked[:3], rel=1e-3)
    assert named[0].split()[0] == "11.png"
    # Of twelve, one in ten is the highest; the share is the second.
    below = float(_said(done)[1].split("; nine in ten have at most ")[1].rstrip("."))
    assert below == pytest.approx(ranked[1], rel=1e-3)

    done = invoke("calibrate", run_copy, "--data", folder, "--without", "11.png")
    assert _said(done)[1].startswith(f"Highest: {named[1].split()[0]} ")
    after = _calibration(run_copy)
    # Nothing else has changed.
    assert sorted(after["scores"]) == sorted(scores)[:-1]
    assert after["threshold"] == ranked[1]


def test_one_image_is_one(invoke: Invoke, run_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    assert cv2.imwrite(str(tmp_path / "good" / "a.png"), np.full((24, 24, 3), 90, np.uint8))
    done = invoke("calibrate", run_copy, "--data", tmp_path / "good")
    assert ", from 1 normal image; " in _said(done)[0]
    assert _said(done)[2].startswith("From 1 good image: ")


def test_without_test_images_the_report_has_the_new_threshold(
    invoke: Invoke, run_copy: Path
) -> None:
    """`evaluate` would refuse to make it."""
    (run_copy / "metrics.json").unlink()
    left_out = _calibration(run_copy)["names"][0].rpartition("/")[2]
    invoke("calibrate", run_copy, "--without", left_out)
    page = (run_copy / "report.html").read_text(encoding="utf-8")
    assert "From 2 good images: expect" in page
    assert "<title>tile: " in page
    card = (run_copy / "card.md").read_text(encoding="utf-8")
    assert f"| threshold | {_calibration(run_copy)['threshold']:.4g}, " in card
    assert "2 to calibrate" in card


def test_few_images_have_no_share(invoke: Invoke, run_copy: Path) -> None:
    done = invoke("calibrate", run_copy)
    assert _said(done)[1].startswith("Highest: ")
    assert _said(done)[1].count(",") == 2
    assert "nine in ten" not in _said(done)[1]


def test_quiet(invoke: Invoke, run_copy: Path) -> None:
    done = invoke("calibrate", run_copy, "--quiet")
    assert (done.code, len(done.out), done.err) == (0, 2, [])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--min-area", "0"], 2, "0 is not in the range"),
        (["--data", "nowhere"], 1, "nowhere: no such folder."),
        (["--without", "no.png"], 1, "no.png: no calibration image has this file name."),
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


@pytest.fixture
def dozen(tmp_path: Path) -> Path:
    """Twelve good images that no run has seen."""
    folder = tmp_path / "dozen"
    folder.mkdir()
    for number in range(12):
        pixels = np.full((24, 24, 3), 20 * number, np.uint8)
        assert cv2.imwrite(str(folder / f"{number}.png"), pixels)
    return folder


@pytest.mark.parametrize("rate", ["20%", "0.2"])
def test_a_rate_of_false_alarms_takes_the_rank_that_promises_it(
    invoke: Invoke, run_copy: Path, dozen: Path, rate: str
) -> None:
    done = invoke("calibrate", run_copy, "--data", dozen, "--max-false-alarms", rate)
    after = _calibration(run_copy)
    # Two of thirteen are within 20 %, three are not.
    assert after["false_alarms"]["rank"] == 2
    assert after["false_alarms"]["expected"] == 2 / 13
    assert after["threshold"] == sorted(after["scores"])[-2]
    assert _said(done)[2].startswith("From 12 good images: expect about 1 in 6 good parts ")


def test_a_rate_that_needs_more_images_is_refused_with_their_number(
    invoke: Invoke, run_copy: Path, dozen: Path
) -> None:
    before = (run_copy / "calibration.json").read_bytes()
    done = invoke("calibrate", run_copy, "--data", dozen, "--max-false-alarms", "1%")
    assert done.code == 1
    assert "99 are needed" in done.error
    assert (run_copy / "calibration.json").read_bytes() == before


@pytest.mark.parametrize("rate", ["0", "100%", "-1%", "2", "few", "nan", ""])
def test_what_is_no_rate_is_a_usage_error(invoke: Invoke, run_copy: Path, rate: str) -> None:
    done = invoke("calibrate", run_copy, "--max-false-alarms", rate)
    assert done.code == 2
    assert "expected a share such as 1% or 0.01" in done.error
