"""What a worker of a fleet makes of a batch, without Ray."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="the extra ray is not installed")

from ssae_tf.detector import Detector
from ssae_tf.errors import DataError
from ssae_tf.fleet.inspector import VERDICT, Inspector


@pytest.fixture
def inspector(run_folder: Path, shared_network: None) -> Inspector:
    return Inspector(str(run_folder))


def test_a_row_has_all_of_a_line(inspector: Inspector, run_folder: Path, sample_root: Path) -> None:
    """Each key of a line of `predict` is a column, and the values are the detector's."""
    path = sample_root / "tile" / "test" / "crack" / "000.png"
    # Of a run without a level of review, a table has its columns all the same.
    levels = {"review_threshold": None, "verdict": None}
    expected = {**levels, **Detector.load(run_folder).predict(path).to_dict()}
    (row,) = inspector(pa.table({"path": [str(path)], "label": [7]})).to_pylist()
    assert row == {**expected, "label": 7, "error": None}
    assert {"path", *VERDICT.names} == {*expected, "error"}


def test_defects_keep_their_type(inspector: Inspector, sample_root: Path) -> None:
    """Also where no image has any, so that batches can be joined."""
    good = str(sample_root / "tile" / "test" / "good" / "000.png")
    inspector._threshold = 1e9
    found = inspector(pa.table({"path": [good]}))
    assert found.column("defects").to_pylist() == [[]]
    inspector._threshold = 0.0
    other = inspector(pa.table({"path": [good]}))
    assert len(other.column("defects").to_pylist()[0]) >= 1
    assert found.schema == other.schema
    assert found.schema.field("defects").type == VERDICT.field("defects").type


def test_a_failed_image_is_a_row(inspector: Inspector, tmp_path: Path, sample_root: Path) -> None:
    good = shutil.copy(sample_root / "tile" / "test" / "good" / "000.png", tmp_path / "a.png")
    broken, missing = tmp_path / "b.png", tmp_path / "c.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    rows = inspector(pa.table({"path": [str(broken), str(good), str(missing)]})).to_pylist()
    assert [row["error"] is None for row in rows] == [False, True, False]
    assert rows[0]["error"].startswith(f"{broken}: the PNG ")
    assert rows[2]["error"].startswith(f"{missing}: can't be read (")
    for row in (rows[0], rows[2]):
        assert row["is_anomalous"] is row["score"] is row["defects"] is None
        assert row["schema_version"] == rows[1]["schema_version"]


def test_images_of_a_store_and_encoded_ones(inspector: Inspector, sample_root: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="the extra ray is not installed")
    path = sample_root / "tile" / "test" / "crack" / "000.png"
    (expected,) = inspector(pa.table({"path": [str(path)]})).to_pylist()
    place = "memory://images/a.png"
    fsspec.filesystem("memory").pipe_file("/images/a.png", path.read_bytes())
    tables = [
        {"path": [place, "memory://bucket/no.png"]},
        {"path": [place, "b.png"], "bytes": [path.read_bytes(), b"text"]},
        {"bytes": [path.read_bytes(), b""]},
    ]
    errors = [
        "memory://bucket/no.png: can't be read, it does not exist.",
        "b.png: expected a PNG, ",
        "image: the file is empty (0 bytes).",
    ]
    for columns, error in zip(tables, errors, strict=True):
        found, failed = inspector(pa.table(columns)).to_pylist()
        assert {name: found[name] for name in VERDICT.names} == {
            name: expected[name] for name in VERDICT.names
        }
        assert failed["error"].startswith(error)


def test_verdicts_of_before_are_replaced(inspector: Inspector, sample_root: Path) -> None:
    path = str(sample_root / "tile" / "test" / "crack" / "000.png")
    first = inspector(pa.table({"path": [path]}))
    assert inspector(first).equals(first)


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        ({"path": ["a.png"]}, r"batch_format='pyarrow'.* Received: dict\.$"),
        (pa.table({"file": ["a.png"]}), r"column `path` or `bytes`. Received: file\.$"),
    ],
)
def test_batches_that_are_none(inspector: Inspector, batch: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        inspector(batch)
