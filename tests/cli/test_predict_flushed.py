"""`ssae-tf predict --out`: the disk holds what has a name, and nobody waits for it."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.cli import options

Invoke = Callable[..., Any]
KINDS = ("map.npy", "map.png", "mask.png", "overlay.png")


@pytest.fixture
def images(sample_root: Path) -> list[Path]:
    """Six images of two names, so that all threads have work."""
    test = sample_root / "tile" / "test"
    return [test / kind / f"00{i}.png" for kind in ("good", "crack", "stain") for i in (0, 1)]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What was done, in order: flushes with the file's inode, renames with it, lines."""
    events: list[tuple[str, Any]] = []
    flush, replace = os.fsync, Path.replace

    def flushed(handle: int) -> None:
        flush(handle)
        status = os.fstat(handle)
        events.append(("folder" if stat.S_ISDIR(status.st_mode) else "flush", status.st_ino))

    def replaced(path: Path, target: Path) -> Path:
        events.append(("name", (path.stat().st_ino, target.name)))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(
        options, "print_json", lambda line: events.append(("line", Path(line["path"])))
    )
    return events


@pytest.mark.parametrize("count", [1, 6])
def test_data_then_names_then_the_line_and_the_folder_once(
    count: int,
    invoke: Invoke,
    run_folder: Path,
    images: list[Path],
    done: list[tuple[str, Any]],
    tmp_path: Path,
) -> None:
    out = tmp_path / "found"
    assert invoke("predict", run_folder, *images[:count], "--out", out).code == 0
    flushed: set[int] = set()
    named: list[str] = []
    lines: list[Path] = []
    for what, value in done:
        if what == "flush":
            flushed.add(value)
        elif what == "name":
            assert value[0] in flushed
            named.append(value[1])
        elif what == "line":
            lines.append(value)
            assert len(named) >= 4 * len(lines)
    assert lines == images[:count]
    assert len(named) == 4 * count
    assert sorted(named) == sorted(path.name for path in out.iterdir())
    assert [value for what, value in done if what == "folder"] == [out.stat().st_ino]
    assert done[-1][0] == "folder"


def test_what_the_disk_refuses_is_an_error_of_its_image_everywhere(
    invoke: Invoke,
    run_folder: Path,
    images: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Some file systems say only when they are flushed that they are full."""
    out, table = tmp_path / "found", tmp_path / "found.csv"
    flush = os.fsync

    def refuse(handle: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{handle}")).name.startswith(".crack_000_mask"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    ended = invoke("predict", run_folder, *images, "--out", out, "--csv", table)
    assert ended.code == 3
    lines = [json.loads(line) for line in ended.out]
    errors = {line["path"]: line["error"] for line in lines if "error" in line}
    text = f"{out / 'crack_000_mask.png'}: can't be written (No space left on device)."
    assert errors == {str(images[2]): f"{images[2]}: {text}"}
    with table.open(newline="", encoding="utf-8") as file:
        assert [row["error"] for row in csv.DictReader(file)] == [
            line.get("error", "") for line in lines
        ]
    names = {path.name for path in out.iterdir()}
    assert "crack_000_mask.png" not in names
    assert {f"stain_001_{kind}" for kind in KINDS} <= names
    assert not any(name.startswith(".") for name in names)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_whole_files_and_no_others(
    number: signal.Signals,
    invoke: Invoke,
    run_folder: Path,
    images: list[Path],
    done: list[tuple[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    out, lines = tmp_path / "found", []

    def print_first(line: dict[str, Any]) -> None:
        lines.append(line)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(options, "print_json", print_first)
    ended = invoke("predict", run_folder, *images, "--out", out)
    assert (ended.code, ended.error) == (128 + number, "Interrupted.")
    assert len(lines) == 1
    flushed = {value for what, value in done if what == "flush"}
    names = {path.name: path.stat().st_ino for path in out.iterdir()}
    assert {f"000_{kind}" for kind in KINDS} <= set(names)
    assert not any(name.startswith(".") for name in names)
    assert set(names.values()) <= flushed
    assert ("folder", out.stat().st_ino) in done
