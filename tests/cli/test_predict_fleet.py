"""`ssae-tf predict --engine ray`, as far as it comes without Ray."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]


def test_without_ray(
    invoke: Invoke, run_folder: Path, sample_root: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    table = tmp_path / "found.parquet"
    done = invoke("predict", run_folder, sample_root, "--engine", "ray", "--out-table", table)
    assert (done.code, done.out) == (1, [])
    assert done.error.startswith("Error: --engine ray needs Ray Data (")
    assert done.error.endswith(": pip install 'ssae-tf[ray]'")
    assert not table.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--engine", "ray"], "--engine ray needs --out-table"),
        (["--engine", "ray", "--out-table", "t.parquet", "--csv", "a.csv"], "takes no --csv"),
        (["--engine", "ray", "--out-table", "t.parquet", "--out", "o"], "takes no --out"),
        (["--engine", "ray", "--out-table", "t.csv"], "a name ending in .parquet or .jsonl: t.csv"),
        (["--out-table", "t.parquet"], "--out-table and --workers need --engine ray"),
        (["--workers", "2"], "--out-table and --workers need --engine ray"),
    ],
)
def test_options_that_do_not_go_together(
    invoke: Invoke, arguments: list[str], sentence: str
) -> None:
    done = invoke("predict", "runs/tile", "images", *arguments)
    assert done.code == 2
    assert sentence in done.error
