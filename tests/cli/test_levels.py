"""`calibrate --review --reject --with`, and what `evaluate` and `predict` print then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stand_ins import flat_score, write_flat, write_grey_run

Invoke = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A root with 20 images to calibrate on, of 130, 132, … 168."""
    root = tmp_path / "data"
    write_flat(root / "part/train/good", [120, 121, 122, 123])
    write_flat(root / "part/validation/good", range(130, 170, 2))
    write_flat(root / "part/test/good", [128, 167])
    write_flat(root / "part/test/dent", [165, 255])
    return root


# After `invoke`, which would give the network of a real run.
@pytest.fixture
def run(invoke: Invoke, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_grey_run(tmp_path / "run", data, monkeypatch)


def test_levels_are_set_printed_and_shown(invoke: Invoke, run: Path, data: Path) -> None:
    done = invoke("calibrate", run, "--review", "25%", "--reject", "10%")
    values = json.loads((run / "calibration.json").read_text())
    assert done.code == 0
    assert done.out == [
        f"threshold {values['threshold']!r}",
        f"review_threshold {values['review_threshold']!r}",
        "min_area 1",
    ]
    assert values["threshold"] == pytest.approx(flat_score(166))
    assert values["review_threshold"] == pytest.approx(flat_score(160))

    done = invoke("predict", run, data / "part/test")
    lines = [json.loads(line) for line in done.out]
    found = [(line["verdict"], line["is_anomalous"], line["p_value"]) for line in lines]
    assert found == [
        ("review", False, pytest.approx(3 / 21)),
        ("reject", True, pytest.approx(1 / 21)),
        ("good", False, 1.0),
        ("reject", True, pytest.approx(2 / 21)),
    ]
    (line,) = invoke("predict", run, data / "part/test/dent/000.png", "--threshold", "0.1").out
    assert json.loads(line)["is_anomalous"]
    assert {"verdict", "review_threshold"}.isdisjoint(json.loads(line))

    done = invoke("evaluate", run)
    (said,) = [line for line in done.out if line.startswith("Review above ")]
    assert said == (
        f"Review above {values['review_threshold']:.4g}: of 2 good images 0 (0.0 %) to review, "
        "1 (50.0 %) rejected; of 2 defective images 1 (50.0 %) to review, 1 (50.0 %) rejected."
    )

    done = invoke("calibrate", run)
    assert len(done.out) == 2
    assert not [line for line in invoke("evaluate", run).out if line.startswith("Review")]


def test_levels_that_need_more_images_are_refused_with_their_number(
    invoke: Invoke, run: Path
) -> None:
    before = (run / "calibration.json").read_bytes()
    done = invoke("calibrate", run, "--review", "5%", "--reject", "0.5%")
    assert (done.code, done.out) == (1, [])
    assert done.error.endswith("of good parts rejected: 199 are needed.")
    assert (run / "calibration.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reject", "5%"], "--reject needs --review"),
        (["--review", "5%", "--max-false-alarms", "5%"], "--review goes with --reject"),
        (["--review", "5%", "--reject", "10%"], "--reject 0.1 is more than --review 0.05"),
        (["--review", "many"], "expected a share such as 1% or 0.01"),
    ],
)
def test_rates_that_do_not_belong_together_are_usage_errors(
    arguments: list[str], message: str, invoke: Invoke, run: Path
) -> None:
    done = invoke("calibrate", run, *arguments)
    assert done.code == 2
    assert message in done.error


def test_an_image_is_left_out_until_it_is_taken_back(invoke: Invoke, run: Path) -> None:
    first = invoke("calibrate", run).out
    assert invoke("calibrate", run, "--without", "019.png").out != first
    done = invoke("calibrate", run)
    assert done.out != first
    assert [line for line in done.err if line.startswith("Left out: validation/good/019.png; ")]
    assert invoke("calibrate", run, "--with", "019.png").out == first
    done = invoke("calibrate", run, "--with", "019.png")
    assert (done.code, done.error) == (
        1,
        "Error: 019.png: no image that is left out has this file name.",
    )
