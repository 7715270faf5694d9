"""`ssae-tf evaluate --good --bad`: two plain folders in place of a data root."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]


pytestmark = pytest.mark.usefixtures("empty_sheets")


@pytest.fixture
def folders(sample_root: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The sample's test images in two folders, the defective ones nested."""
    test = sample_root / "tile" / "test"
    good, bad = tmp_path / "fine", tmp_path / "faulty"
    shutil.copytree(test / "good", good)
    for kind in ("crack", "missing_grain", "stain"):
        shutil.copytree(test / kind, bad / "monday" / kind)
    (bad / "notes.txt").write_text("")
    return good, bad


def test_figures_are_those_of_the_same_images_in_a_root(
    invoke: Invoke, run_folder: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_folder.iterdir()}
    good, bad = folders
    out = tmp_path / "out"
    done = invoke("evaluate", run_folder, "--good", good, "--bad", bad, "--out", out, "--json")
    assert done.code == 0
    assert "Figures of pixels need masks, which two plain folders don't have." in done.err
    metrics = json.loads("\n".join(done.out))
    own = json.loads((run_folder / "metrics.json").read_text())
    for name in ("image_auroc", "tpr", "tnr", "balanced_accuracy", "f1_image", "n_test"):
        assert metrics[name] == own[name]
    for name in ("pixel_auroc", "aupro", "f1_pixel"):
        assert own[name] is not None
        assert metrics[name] is None
    assert list(metrics["kinds"]) == ["bad"]
    assert metrics == json.loads((out / "metrics.json").read_text())
    with (out / "verdicts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["good"] * 2 + ["bad"] * 6
    assert rows[0]["path"] == "fine/000.png"
    assert rows[2]["path"] == "faulty/monday/crack/000.png"
    assert "No defective test image has a mask" in (out / "report.html").read_text("utf-8")
    assert {path: path.stat().st_mtime_ns for path in run_folder.iterdir()} == before


def test_one_folder_measures_its_own_rate_and_nothing_is_written_unasked(
    invoke: Invoke, run_folder: Path, folders: tuple[Path, Path]
) -> None:
    before = sorted(run_folder.iterdir())
    done = invoke("evaluate", run_folder, "--good", folders[0], "--json")
    metrics = json.loads("\n".join(done.out))
    own = json.loads((run_folder / "metrics.json").read_text())
    assert (metrics["tnr"], metrics["tpr"]) == (own["tnr"], None)
    assert (metrics["image_auroc"], metrics["n_test"]) == (None, 2)
    assert done.error.startswith("Nothing was written: --out")
    assert sorted(run_folder.iterdir()) == before
    done = invoke("evaluate", run_folder, "--bad", folders[1], "--json")
    metrics = json.loads("\n".join(done.out))
    assert (metrics["tnr"], metrics["tpr"]) == (None, own["tpr"])


def test_what_cant_be_measured_on_is_one_sentence(
    invoke: Invoke, run_folder: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    good, bad = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, sentence in (
        (("--good", good, "--bad", tmp_path / "no"), f"Error: {tmp_path / 'no'}: no such folder."),
        (("--good", empty), f"Error: {empty}: no images found."),
        (
            ("--good", bad / "monday" / "crack", "--bad", bad),
            f"Error: {bad / 'monday' / 'crack'} and {bad}: expected other images in each, found 2 "
            f"in both, such as {bad / 'monday' / 'crack' / '000.png'}.",
        ),
    ):
        done = invoke("evaluate", run_folder, *arguments)
        assert (done.code, done.error) == (1, sentence)
    done = invoke("evaluate", run_folder, "--good", good, "--data", bad)
    assert done.code == 2
    assert "--good and --bad go without --data" in done.error
