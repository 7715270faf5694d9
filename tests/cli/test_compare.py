"""`ssae-tf compare`: the tables, the page, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]


@pytest.fixture
def other(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the shared run with another seed and no evaluation."""
    copy = shutil.copytree(run_folder, tmp_path / "other")
    config = json.loads((copy / "config.json").read_text())
    config["training"]["seed"] = 7
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "metrics.json").unlink()
    return copy


def test_tables_and_page(invoke: Invoke, run_folder: Path, other: Path, tmp_path: Path) -> None:
    page = tmp_path / "both.html"
    done = invoke("compare", run_folder, other, "--out", page)
    rows = {line.split()[0]: line.split()[1:] for line in done.out if line.strip()}
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert done.code == 0
    assert rows["image_auroc"] == [f"{metrics['image_auroc']:.3f}", "–"]
    assert rows["training.seed"] == ["0", "7"]
    assert "training.stages" not in rows
    assert done.err[-1] == f"Page: {page}"
    assert f"{other} was not tested." in "\n".join(done.err)
    assert "training.seed" in page.read_text(encoding="utf-8")


def test_what_is_no_run_is_refused(invoke: Invoke, run_folder: Path, tmp_path: Path) -> None:
    assert invoke("compare", run_folder, tmp_path / "none").error == (
        f"Error: {tmp_path / 'none'}: no such run folder."
    )
    done = invoke("compare", run_folder, tmp_path)
    assert done.code == 1
    assert done.error.startswith(f"Error: {tmp_path / 'config.json'}: can't be read")
    assert invoke("compare").code == 2


def test_records_of_another_form_are_refused(invoke: Invoke, other: Path) -> None:
    (other / "calibration.json").write_text("[]")
    done = invoke("compare", other)
    assert done.error == f"Error: {other / 'calibration.json'}: expected a JSON object."
