"""`ssae-tf evaluate`: the figures as a table or JSON, and where they are kept."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.run_folder import writing

Invoke = Callable[..., Any]
SHEETS = ["crack.png", "good.png", "missing_grain.png", "stain.png"]


pytestmark = pytest.mark.usefixtures("empty_sheets")


@pytest.fixture
def run_copy(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the shared run without its evaluation."""
    copy = shutil.copytree(run_folder, tmp_path / "copy")
    for name in ("metrics.json", "report.html", "verdicts.csv"):
        (copy / name).unlink()
    shutil.rmtree(copy / "sheets")
    return copy


@pytest.fixture
def other(sample_root: Path, tmp_path: Path) -> Path:
    """A root with the category `slate`, two kinds of defect."""
    folder = shutil.copytree(sample_root / "tile", tmp_path / "other" / "slate")
    shutil.rmtree(folder / "test" / "stain")
    shutil.rmtree(folder / "ground_truth" / "stain")
    return folder.parent


def _sheets(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "sheets").iterdir())


def test_json(invoke: Invoke, run_copy: Path, run_folder: Path) -> None:
    done = invoke("evaluate", run_copy, "--json")
    metrics = json.loads("\n".join(done.out))
    assert done.code == 0
    assert metrics == json.loads((run_folder / "metrics.json").read_text())
    assert metrics == json.loads((run_copy / "metrics.json").read_text())
    assert _sheets(run_copy) == SHEETS
    assert done.err == [
        f"Sheets of the best, median and worst images: {run_copy / 'sheets'}",
        f"Report: {run_copy / 'report.html'}",
    ]


def test_table(invoke: Invoke, run_copy: Path) -> None:
    done = invoke("evaluate", run_copy, "--quiet")
    metrics = json.loads((run_copy / "metrics.json").read_text())
    assert (done.code, done.err) == (0, [])
    rows = {line.split()[0]: line.split()[1:] for line in done.out if line.strip()}
    for name, figures in {**metrics["kinds"], "total": metrics}.items():
        assert rows[name][0] == f"{figures['image_auroc']:.3f}"
    text = " ".join(line.strip() for line in done.out)
    assert f"minimum area {metrics['min_area']} px" in text
    # What the network repairs.
    figures = metrics["projection"]
    assert figures["n_images"] == 2
    assert done.out[-1].startswith("Repairs synthetic anomalies: error ")
    for key in ("residual", "idempotence", "corrupted_region_error_after"):
        assert f"{figures[key]:.4f}" in done.out[-1]


@pytest.fixture
def ablations(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Has the ablation measure nothing; gives the arguments of its calls."""
    from ssae_tf import ablation

    calls: list[dict[str, Any]] = []

    def ablate(run: Path, **arguments: Any) -> dict[str, Any]:
        calls.append({"run": run, **arguments})
        figures = {name: 0.125 + index / 8 for index, name in enumerate(ablation.FIGURES)}
        return {"as_shipped": figures, "paper_map": {**figures, "aupro": None}}

    monkeypatch.setattr(ablation, "ablate", ablate)
    return calls


@pytest.mark.usefixtures("ablations")
def test_ablation_table(invoke: Invoke, run_copy: Path) -> None:
    done = invoke("evaluate", run_copy, "--ablation")
    rows = {line.split()[0]: line.split()[1:] for line in done.out if line.strip()}
    shown = ["0.125", "0.250", "0.375", "0.500", "0.625", "0.750", "0.875", "1.000"]
    assert rows["as_shipped"] == shown
    assert rows["paper_map"] == [*shown[:2], "–", *shown[3:]]
    assert list(json.loads((run_copy / "ablation.json").read_text())["ablation"]) == list(rows)[-2:]
    assert "the next evaluation" in done.error
    # The run's evaluation is another command.
    assert not (run_copy / "metrics.json").exists()


def test_ablation_with_other_data(
    invoke: Invoke, run_copy: Path, tmp_path: Path, ablations: list[dict[str, Any]]
) -> None:
    arguments = ["evaluate", run_copy, "--ablation", "--json"]
    invoke(*arguments, "--data", tmp_path, "--category", "slate")
    assert not (run_copy / "ablation.json").exists()
    del ablations[0]["reporter"]
    assert ablations == [{"run": run_copy, "data": tmp_path, "category": "slate"}]
    done = invoke(*arguments, "--data", tmp_path, "--out", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert written == json.loads("\n".join(done.out))


def test_out(invoke: Invoke, run_copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    done = invoke("evaluate", run_copy, "--out", out, "--json")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == json.loads("\n".join(done.out))
    rows = list(csv.DictReader((out / "verdicts.csv").read_text().splitlines()))
    found = [row["is_anomalous"] == "true" for row in rows if row["truth"] == "true"]
    assert sum(found) / len(found) == metrics["tpr"]
    assert len(rows) == metrics["n_test"]
    assert f"On {metrics['n_test']} test images it found" in (out / "report.html").read_text()
    assert _sheets(out) == SHEETS
    for name in ("metrics.json", "sheets", "report.html", "verdicts.csv"):
        assert not (run_copy / name).exists()


def test_other_data_leave_the_runs_own_figures(
    invoke: Invoke, run_folder: Path, other: Path, tmp_path: Path
) -> None:
    before = (run_folder / "metrics.json").read_bytes()
    arguments = ["evaluate", run_folder, "--data", other, "--category", "slate", "--json"]
    done = invoke(*arguments)
    metrics = json.loads("\n".join(done.out))
    assert done.code == 0
    assert done.error.startswith("Nothing was written: --out FOLDER keeps")
    assert set(metrics["kinds"]) == {"crack", "missing_grain"}
    assert (run_folder / "metrics.json").read_bytes() == before
    assert "stain.png" in _sheets(run_folder)
    done = invoke(*arguments, "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics
    assert _sheets(tmp_path / "out") == ["crack.png", "good.png", "missing_grain.png"]


def test_category_of_the_same_root(invoke: Invoke, run_copy: Path, other: Path) -> None:
    environment = json.loads((run_copy / "environment.json").read_text())
    (run_copy / "environment.json").write_text(json.dumps(environment | {"data": str(other)}))
    assert invoke("evaluate", run_copy).error == (
        f"Error: {other}: no category 'tile' (a folder with train/good); found: slate."
    )
    assert invoke("evaluate", run_copy, "--category", "slate").code == 0
    assert not (run_copy / "metrics.json").exists()


def test_a_missing_mask_is_told(invoke: Invoke, run_folder: Path, other: Path) -> None:
    (other / "slate/ground_truth/crack/000_mask.png").unlink()
    arguments = ["evaluate", run_folder, "--data", other, "--category", "slate"]
    done = invoke(*arguments, "--quiet", "--json")
    metrics = json.loads("\n".join(done.out))
    assert metrics["n_without_mask"] == 1
    assert metrics["pixel_auroc"] is not None
    assert [line.split("/")[-1] for line in done.err] == [
        "crack: 1 image without a mask, left out of pixel metrics; the first: 000.png."
    ]
    # The caption is as wide as the table.
    text = " ".join(line.strip() for line in invoke(*arguments).out)
    assert "1 without a mask, left out of pixel figures" in text


def test_an_unreadable_image(invoke: Invoke, run_folder: Path, other: Path) -> None:
    (other / "slate/test/good/001.png").write_bytes(b"")
    done = invoke("evaluate", run_folder, "--data", other, "--category", "slate")
    assert (done.code, done.out, len(done.err)) == (1, [], 1)
    assert "001.png: the file is empty" in done.error


def test_not_beside_another_writer(invoke: Invoke, run_folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    before = (run / "metrics.json").stat().st_mtime_ns
    with writing(run, "ssae-tf calibrate"):
        done = invoke("evaluate", run)
    assert (done.code, done.out, len(done.err)) == (1, [], 1)
    assert done.error.startswith(f"Error: {run}: `ssae-tf calibrate` (process {os.getpid()}, since")
    assert (run / "metrics.json").stat().st_mtime_ns == before
    assert not (run / ".lock").exists()
