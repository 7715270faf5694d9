"""Files that are complete or absent, and readable by whom the umask lets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ssae_tf import files
from ssae_tf.errors import RunError, WriteError
from ssae_tf.files import atomic, is_temporary_of, put_in_place, read_json, write_json, write_text


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


def test_what_a_dead_process_left_is_known() -> None:
    path = Path("folder/weights.npz")
    assert is_temporary_of(".weights.a1b2c3_d.npz", path)
    for name in ("weights.npz", ".weights.npz", ".weights.a1b2c3_d.json", ".others.a1b2c3_d.npz"):
        assert not is_temporary_of(name, path)


def test_a_full_disk_is_told_in_one_sentence(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(WriteError) as caught, atomic(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert str(caught.value) == (
        f"{tmp_path / 'a.txt'}: can't be written (No space left on device)."
    )
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("folder_flushed", [True, False])
def test_data_are_on_the_disk_before_the_name(
    folder_flushed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    flush, replace = os.fsync, Path.replace

    def flushed(handle: int) -> None:
        done.append("flush")
        flush(handle)

    def replaced(path: Path, target: Path) -> Path:
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", replaced)
    with atomic(tmp_path / "a.txt", folder_flushed=folder_flushed) as temporary:
        temporary.write_text("new")
    assert done == ["flush", "rename", *(["flush"] if folder_flushed else [])]
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_takes_the_place_of_another(
    can_exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(files, "exchange", lambda *_: False)
    place, new, old = (tmp_path / name for name in ("place", "new", "old"))
    write_text(place / "a", "before")
    write_text(new / "b", "after")
    replaced = put_in_place(new, place, old)
    assert [path.name for path in place.iterdir()] == ["b"]
    assert [path.name for path in replaced.iterdir()] == ["a"]
    assert {path.name for path in tmp_path.iterdir()} == {"place", replaced.name}


def test_files_are_deleted_by_name(tmp_path: Path) -> None:
    for name in ("a/ours", "a/theirs", "b/ours", "ours"):
        write_text(tmp_path / "folder" / name, name)
    files.remove_files(tmp_path / "folder", ["a/ours", "b/ours", "ours", "missing"])
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {"folder", "folder/a", "folder/a/theirs"}


def test_a_name_that_no_system_takes_is_an_error() -> None:
    for name, reason in (("a\0b", "embedded null byte"), ("x" * 300, "too long")):
        with pytest.raises(WriteError, match=f"can't be written .*{reason}"):
            write_text(Path(name), "")
