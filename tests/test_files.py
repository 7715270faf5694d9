"""Files that are complete or absent, and readable by whom the umask lets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ssae_tf.errors import RunError
from ssae_tf.files import atomic, read_json, write_json, write_text


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    with atomic(path) as temporary:
        temporary.write_text("x")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".json"
    assert path.read_text() == "x"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError), atomic(path) as temporary:
        temporary.write_text("half of the n\udcff", encoding="utf-8")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/a\.txt: can't be written \(.+\)\.$"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_a_folder_in_the_files_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(RunError, match=r"a: can't be written \(Is a directory\)\.$"):
        write_text(tmp_path / "a", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_json_survives(tmp_path: Path) -> None:
    value = {"name": "Prüfung", "broken": "a\udcff", "list": [1, 2.5, None, True]}
    write_json(tmp_path / "a.json", value)
    assert "Prüfung" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "a.json") == value


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"score": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_what_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(RunError, match=r"a\.json: can't be read \(No such file or directory\)\.$"):
        read_json(path)
    for content in (b"", b"{", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"a\.json: is not JSON \("):
            read_json(path)
    path.write_text(json.dumps([1]))
    assert read_json(path) == [1]
