"""A table of verdicts: parts that are whole or absent, and what is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="the extra ray is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from ssae_tf.errors import DataError, RunError
from ssae_tf.fleet import table as table_module
from ssae_tf.fleet.inspector import VERDICT
from ssae_tf.fleet.table import Table

SETTINGS: dict[str, object] = {"detector": "0" * 64, "threshold": None, "max_pixels": 100}


def _rows(*paths: str) -> Any:
    """Verdicts as a worker gives them: of names with an x there is an error."""
    found = []
    for path in paths:
        verdict = {"score": 0.25, "threshold": 0.5, "is_anomalous": False, "defects": []}
        outcome = {"error": f"{path}: no."} if "x" in path else verdict
        found.append({"path": path, "schema_version": 1, **outcome})
    return pa.Table.from_pylist(found, schema=pa.schema([pa.field("path", pa.string()), *VERDICT]))


@pytest.mark.parametrize("place", ["found.parquet", "found.jsonl", "memory://bucket/t.parquet"])
def test_rows_are_kept_and_known(place: str, tmp_path: Path) -> None:
    if "://" in place:
        pytest.importorskip("fsspec", reason="the extra ray is not installed")
    else:
        place = str(tmp_path / place)
    first = Table(place, SETTINGS)
    assert first.done == set()
    first.add(_rows("/a", "/bx"))
    first.add(_rows("/c"))
    assert Table(place, SETTINGS).done == set()
    first.flush()
    second = Table(place, SETTINGS)
    assert second.done == {"/a", "/bx", "/c"}
    second.add(_rows("/d"))
    second.flush()
    second.flush()
    assert Table(place, SETTINGS).done == {"/a", "/bx", "/c", "/d"}


def test_parquet_is_read_as_one_table(tmp_path: Path) -> None:
    place = tmp_path / "found.parquet"
    for path in ("/a", "/bx"):
        table = Table(str(place), SETTINGS)
        table.add(_rows(path))
        table.flush()
    found = parquet.read_table(place)
    assert found.column_names == ["schema_version", "path", *VERDICT.names[1:]]
    assert sorted(found.column("path").to_pylist()) == ["/a", "/bx"]
    assert sorted(found.column("is_anomalous").to_pylist(), key=str) == [False, None]


def test_lines_are_those_of_predict(tmp_path: Path) -> None:
    table = Table(str(tmp_path / "found.jsonl"), SETTINGS)
    table.add(_rows("/ä", "/bx"))
    table.flush()
    (part,) = (tmp_path / "found.jsonl").glob("*.jsonl")
    assert [json.loads(line) for line in part.read_text(encoding="utf-8").splitlines()] == [
        {
            "schema_version": 1,
            "path": "/ä",
            "score": 0.25,
            "threshold": 0.5,
            "is_anomalous": False,
            "defects": [],
        },
        {"schema_version": 1, "path": "/bx", "error": "/bx: no."},
    ]


@pytest.mark.parametrize("limit", ["_ROWS", "_SECONDS"])
def test_a_part_is_written_in_time(limit: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(table_module, limit, 2 if limit == "_ROWS" else 0.0)
    table = Table(str(tmp_path / "found.parquet"), SETTINGS)
    table.add(_rows("/a"))
    table.add(_rows("/b"))
    assert Table(str(tmp_path / "found.parquet"), SETTINGS).done == {"/a", "/b"}


def test_another_detector_is_refused(tmp_path: Path) -> None:
    place = str(tmp_path / "found.parquet")
    Table(place, SETTINGS)
    with pytest.raises(RunError, match=r"found\.parquet: its verdicts come from another detector"):
        Table(place, {**SETTINGS, "threshold": 0.5})


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(RunError, match="holds other files"):
        Table(str(tmp_path), SETTINGS)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    place = tmp_path / "found.jsonl"
    Table(str(place), SETTINGS)
    (place / "part-1.jsonl").write_text('{"path": "/a"}\n{"pa')
    with pytest.raises(DataError, match=r"part-1\.jsonl: is no part of a table"):
        Table(str(place), SETTINGS)
