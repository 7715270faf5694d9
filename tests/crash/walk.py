"""The states that a kill can leave on disk: a copy of a folder before each operation on it.

Beside each state before a file gets its name there is one in which half of the file is on the disk,
as a power cut before the flush leaves it. A file that gets its name without a flush has that half
under its name.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from ssae_tf import files

# Relative path -> content; None for a folder.
State = dict[str, bytes | None]

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_active: list[Callable[[str, tuple], None]] = []


def _hook(event: str, arguments: tuple) -> None:
    if _active and (event in _CHANGES or (event == "open" and (arguments[2] or 0) & _WRITES)):
        _active[-1](event, arguments)


# It can't be taken away again.
sys.addaudithook(_hook)


def states(root: Path, work: Callable[[], object]) -> list[State]:
    """All different states of a folder while something is done in it, the last included.

    Args:
        root: an existing folder.
        work: what is done.
    """
    found: dict[frozenset, State] = {}

    def keep(state: State) -> None:
        found.setdefault(frozenset(state.items()), state)

    def look(event: str, arguments: tuple) -> None:
        keep(read(root))
        if event == "os.rename" and Path(arguments[0]).is_file():
            source, target = (Path(one).relative_to(root).as_posix() for one in arguments[:2])
            half = torn(read(root), source)
            # A temporary file, before it is flushed.
            if Path(source).name.startswith("."):
                keep(half)
            if (root / source).stat().st_ino not in flushed:
                content = half.pop(source)
                keep({**half, target: content})

    flushed: set[int] = set()
    exchange, flush = files.exchange, os.fsync

    def flush_noted(handle: int) -> None:
        flush(handle)
        flushed.add(os.fstat(handle).st_ino)

    def exchanged(one: Path, other: Path) -> bool:
        keep(read(root))
        return exchange(one, other)

    files.exchange, os.fsync = exchanged, flush_noted
    _active.append(look)
    try:
        work()
    finally:
        _active.pop()
        files.exchange, os.fsync = exchange, flush
    keep(read(root))
    return list(found.values())


def read(root: Path) -> State:
    """What is in a folder."""
    found: State = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        # Not by `open`, which a hook may count; gone are files that another thread has closed.
        found[name] = None if path.is_dir() else path.read_bytes()
    return found


def torn(state: State, name: str) -> State:
    """A state in which half of a file has come to the disk."""
    content = state[name]
    assert content is not None
    return {**state, name: content[: len(content) // 2]}


def write(state: State, root: Path) -> Path:
    """Puts a state back on disk."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name, content in state.items():
        path = root / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def some(found: list[State], every: int) -> list[State]:
    """Every so manieth state, and the last one."""
    return [*found[:-1:every], found[-1]]
