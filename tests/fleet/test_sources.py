"""Sources of a fleet: what each kind names, and what is said of those that can't be read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.errors import DataError, MissingExtraError
from ssae_tf.fleet.sources import find


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one of them deeper, and a text; nothing of them is read here."""
    for name in ("2.png", "10.png", "deep/a.JPG", "notes.txt"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "images"


def _names(found: list[str], folder: Path) -> list[str]:
    assert all(os.path.isabs(path) for path in found)
    return [os.path.relpath(path, folder) for path in found]


def test_folders_patterns_and_files(folder: Path) -> None:
    assert _names(find([str(folder)]), folder) == ["2.png", "10.png", "deep/a.JPG"]
    assert _names(find([f"{folder}/*.png"]), folder) == ["2.png", "10.png"]
    assert _names(find([f"{folder}/**/*"]), folder) == ["2.png", "10.png", "deep/a.JPG"]
    assert find([f"{folder}/*.bmp"]) == []
    # Named by itself a file is taken: reading it says what is wrong.
    assert _names(find([f"{folder}/notes.txt", f"{folder}/no.png"]), folder) == [
        "notes.txt",
        "no.png",
    ]


def test_a_name_with_brackets_is_no_pattern(folder: Path) -> None:
    (folder / "[1].png").write_bytes(b"")
    assert _names(find([f"{folder}/[1].png"]), folder) == ["[1].png"]


def test_what_several_sources_name_comes_once(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(folder)
    found = find(["10.png", str(folder), f"{folder}/*.png"])
    assert _names(found, folder) == ["10.png", "2.png", "deep/a.JPG"]


def test_a_manifest_of_csv(folder: Path) -> None:
    manifest = folder / "some.csv"
    lines = f'\ufeffline,path\n1,10.png\n2,"{folder}/deep/a.JPG"\n3,s3://bucket/b.png\n'
    manifest.write_text(lines, encoding="utf-8")
    assert find([str(manifest)]) == [
        str(folder / "10.png"),
        str(folder / "deep" / "a.JPG"),
        "s3://bucket/b.png",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"file,label\n2.png,good\n", r"expected a column `path`. Received: file, label\.$"),
        (b"", r"expected a column `path`. Received: none\.$"),
        (b"path\n2.png\n\n,\n", r"row 2 has no path\.$"),
        (b"path\n\xff.png\n", r"is no CSV in UTF-8 \("),
        (b'path\n"2.png\n', r"is no CSV in UTF-8 \("),
    ],
)
def test_a_manifest_that_is_none(folder: Path, content: bytes, sentence: str) -> None:
    manifest = folder / "some.csv"
    manifest.write_bytes(content)
    with pytest.raises(DataError, match=rf"some\.csv: {sentence}"):
        find([str(manifest)])


def test_no_such_manifest(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no\.csv: can't be read, it does not exist\.$"):
        find([f"{folder}/no.csv"])


def test_a_manifest_of_parquet_needs_pyarrow(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pyarrow: pip install 'ssae-tf\[ray\]'$"):
        find([f"{folder}/some.parquet"])


def test_a_store_needs_fsspec(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError, match=r"fsspec: pip install 'ssae-tf\[ray\]'$"):
        find(["s3://bucket/images"])


def test_undecodable_names_are_escaped(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"")
    assert find([str(tmp_path)]) == [f"{tmp_path}/\\udcff.png"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_manifest_of_parquet(folder: Path, is_folder: bool) -> None:
    pa = pytest.importorskip("pyarrow", reason="the extra ray is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    manifest = folder / "some.parquet"
    if is_folder:
        manifest.mkdir()
        (manifest / "_mark.json").write_text("{}")
    part = manifest / "part-1.parquet" if is_folder else manifest
    paths = ["/a/10.png", "s3://bucket/b.png"]
    parquet.write_table(pa.table({"path": paths, "label": [0, 1]}), part)
    assert find([str(manifest)]) == paths
    parquet.write_table(pa.table({"file": paths}), part)
    with pytest.raises(DataError, match=r"expected a column `path`. Received: file\.$"):
        find([str(manifest)])
    part.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="is no Parquet"):
        find([str(manifest)])


@pytest.fixture
def store() -> Any:
    """A store in memory with three images and a manifest."""
    fsspec = pytest.importorskip("fsspec", reason="the extra ray is not installed")
    files = fsspec.filesystem("memory")
    for name in ("2.png", "10.png", "deep/a.jpg", "notes.txt"):
        files.pipe_file(f"/bucket/{name}", b"")
    files.pipe_file("/bucket/some.csv", b"path\ndeep/a.jpg\n")
    yield files
    files.rm("/bucket", recursive=True)


def test_sources_in_a_store(store: Any) -> None:
    root = "memory://bucket"
    names = ["2.png", "10.png", "deep/a.jpg"]
    assert find([root]) == [f"memory:///bucket/{name}" for name in names]
    assert find([f"{root}/*.png"]) == [f"memory:///bucket/{name}" for name in names[:2]]
    assert find([f"{root}/some.csv"]) == [f"{root}/deep/a.jpg"]
    assert find([f"{root}/no.png"]) == [f"{root}/no.png"]
    with pytest.raises(DataError, match=r"no\.csv: can't be read, it does not exist\.$"):
        find([f"{root}/no.csv"])


def test_a_store_without_permission(store: Any, monkeypatch: Any) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    with monkeypatch.context() as patch:
        for name in ("find", "cat_file"):
            patch.setattr(type(store), name, refuse)
        with pytest.raises(
            DataError, match=r"^memory://bucket: can't be listed, permission denied"
        ):
            find(["memory://bucket"])
        with pytest.raises(DataError, match=r"some\.csv: can't be read, permission denied\.$"):
            find(["memory://bucket/some.csv"])


def test_an_unknown_scheme(store: Any) -> None:
    with pytest.raises(DataError, match=r"^nosuch://bucket: fsspec can't open it \("):
        find(["nosuch://bucket"])
