"""calibration.json: what is written comes back, and what can't be is one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.calibration_file import Calibration
from ssae_tf.errors import InputError, RunError
from ssae_tf.scoring.conformal import FalseAlarmRate

SCORES = (0.1, 0.5, 0.3, 0.2)
WHOLE = Calibration(
    0.5,
    9,
    SCORES,
    FalseAlarmRate(4, 1),
    0.3,
    FalseAlarmRate(4, 2),
    names=("a.png", "b/a.png", "c.png", "d.png"),
    left_out=("e.png",),
    data="/images",
)


def _write(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(json.dumps(values))
    return path


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    seen = Calibration(0.5, 9, SCORES, names=WHOLE.names, seen=("c.png",))
    for one in (WHOLE, seen):
        assert Calibration.read(_write(tmp_path / "calibration.json", one.to_dict())) == one


def test_names_that_are_not_utf_8_come_back(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    one = Calibration(0.5, 9, (0.5,), names=(odd,), seen=(odd,), left_out=(odd,), data=f"/{odd}")
    assert Calibration.read(_write(tmp_path / "calibration.json", one.to_dict())) == one


@pytest.mark.parametrize("promised", [None, FalseAlarmRate(4)])
def test_files_of_the_first_version_open(promised: FalseAlarmRate | None, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "schema_version": 1,
        "min_area": 9,
        "threshold": 0.5,
        "n_calibration": 4,
        "scores": list(SCORES),
    }
    if promised:
        values["false_alarms"] = promised.to_dict()
    found = Calibration.read(_write(tmp_path / "calibration.json", values))
    assert found == Calibration(0.5, 9, SCORES, promised)
    assert (found.names, found.left_out, found.review_threshold) == ((), (), None)
    # Without a promise nobody knows whether training has seen them.
    assert found.unseen_scores == (SCORES if promised else ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"review_threshold": 0.6}, "`review_threshold` should be no higher than `threshold`, 0.5"),
        ({"review_threshold": float("nan")}, "`review_threshold` should be a finite number"),
        ({"review_threshold": -0.1}, "`review_threshold` should be greater than or equal to 0"),
        ({"review_threshold": None}, "expected `review_threshold` beside `review_false_alarms`"),
        ({"review_false_alarms": None}, "expected `review_threshold` beside `review_false_alarms`"),
        ({"review_false_alarms": FalseAlarmRate(5).to_dict()}, "as many images as there are sc.*4"),
        ({"false_alarms": FalseAlarmRate(3).to_dict()}, "as many images as there are scores, 4"),
        ({"names": ["a.png"]}, r"expected 4 `names` or none\. Received: 1\."),
        ({"names": ["../a", "b", "c", "d"]}, "`names.0` .* inside the folder"),
        ({"seen": ["z.png"]}, "expected what training has `seen` among the `names`"),
        ({"left_out": ["/a.png"]}, "inside the folder"),
        ({"left_out": "a.png"}, "`left_out` should be a valid list"),
        ({"data": 3}, "`data` should be a valid string"),
    ],
)
def test_what_can_not_be_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "calibration.json", WHOLE.to_dict() | change)
    with pytest.raises(RunError, match=message) as caught:
        Calibration.read(path)
    assert "\n" not in str(caught.value)


def test_a_level_of_review_is_never_above_the_threshold() -> None:
    with pytest.raises(InputError, match="Argument `review_threshold` should be no higher than"):
        Calibration(0.5, 9, SCORES, FalseAlarmRate(4), 0.6, FalseAlarmRate(4))


def test_both_levels_are_promised_in_words() -> None:
    assert WHOLE.promises() == [
        FalseAlarmRate(4).sentence(),
        "From 4 good images: expect about 40 in 100 good parts to be above the level of review, "
        "0.3, or rejected, with 95 % confidence at most 75 in 100.",
    ]


def test_a_lifted_threshold_promises_an_upper_limit() -> None:
    lifted = Calibration(0.6, 9, SCORES, FalseAlarmRate(4))
    assert lifted.promises() == [FalseAlarmRate(4).sentence(is_lifted=True)]


def test_nothing_is_promised_without_a_rate() -> None:
    assert Calibration(0.5, 9, SCORES, names=WHOLE.names, seen=("c.png",)).promises() == []
