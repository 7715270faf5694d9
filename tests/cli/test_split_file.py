"""split.json that says something else than `fit` wrote: one sentence, whatever reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]
Split = dict[str, Any]


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def _empty(split: Split) -> None:
    split["train"] = []


def _without(split: Split) -> None:
    del split["select"]


def _twice(split: Split) -> None:
    split["calibrate"] = [*split["calibrate"], split["calibrate"][0]]


def _number(split: Split) -> None:
    split["calibrate"][0] = 7


def _text(split: Split) -> None:
    split["train"] = "train/good/000.png"


def _outside(split: Split) -> None:
    split["calibrate"][0] = "../000.png"


def _defect(split: Split) -> None:
    split["calibrate"][0] = "test/crack/000.png"


def _change(run: Path, change: Callable[[Split], None]) -> str:
    """Changes split.json; gives the first calibration image that it had."""
    path = run / "split.json"
    split = json.loads(path.read_text())
    first = split["calibrate"][0]
    change(split)
    path.write_text(json.dumps(split))
    return str(first)


CHANGES = [
    (_empty, "`train` should name images, received []."),
    (_without, "has no `select`."),
    (_twice, "`calibrate` should name {first} once, received ["),
    (_number, "`calibrate.0` should be a valid string, received 7."),
    (_text, '`train` should be a valid list, received "train/good/000.png".'),
    (_outside, '`calibrate.0` should be a path inside the folder, received "../000.png".'),
    (_defect, "names {root}/tile/test/crack/000.png, which is none of the good images."),
]


@pytest.mark.parametrize(("change", "sentence"), CHANGES)
def test_calibrate_refuses_it(
    change: Callable[[Split], None], sentence: str, invoke: Invoke, run: Path, sample_root: Path
) -> None:
    first = _change(run, change)
    before = (run / "calibration.json").read_bytes()
    done = invoke("calibrate", run)
    assert (done.code, done.out) == (1, [])
    text = sentence.format(first=first, root=sample_root)
    assert done.error.startswith(f"Error: {run / 'split.json'}: {text}")
    assert (run / "calibration.json").read_bytes() == before


@pytest.mark.parametrize("command", [["evaluate", "--ablation"], ["fit", "--resume"]])
def test_other_commands_refuse_it(command: list[str], invoke: Invoke, run: Path) -> None:
    if command[0] == "fit":
        # Only then is there anything to go on with.
        (run / "calibration.json").unlink()
    _change(run, _empty)
    done = invoke(command[0], *command[1:], run)
    assert (done.code, done.out) == (1, [])
    expected = f"Error: {run / 'split.json'}: `train` should name images, received []."
    assert done.error == expected


def test_figures_need_no_split_and_the_card_does(
    invoke: Invoke, run: Path, empty_sheets: None
) -> None:
    _change(run, _empty)
    (run / "card.md").unlink()
    done = invoke("evaluate", run)
    assert done.code == 0
    sentence = f"{run / 'split.json'}: `train` should name images, received []."
    assert any(f"Without card.md: {sentence}" in line for line in done.err)
    assert not (run / "card.md").exists()


def test_an_image_that_is_gone(
    invoke: Invoke, run_folder: Path, run: Path, sample_root: Path, tmp_path: Path
) -> None:
    def gone(split: Split) -> None:
        split["calibrate"][0] = "train/good/gone.png"

    _change(run, gone)
    done = invoke("calibrate", run)
    assert (done.code, done.out) == (1, [])
    assert done.error.startswith(f"Error: {sample_root / 'tile/train/good/gone.png'}: ")
