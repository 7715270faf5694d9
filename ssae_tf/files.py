"""Files that are complete or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssae_tf.errors import RunError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, renamed to it when the block ends without error.

    Raises:
        RunError: the folder can't be made or written to, or `path` is a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays, because writers choose the format by it.
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix
        )
    except OSError as error:
        raise RunError(f"{path}: can't be written ({error.strerror}).") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        open_to_others(temporary, 0o666)
        try:
            temporary.replace(path)
        except OSError as error:
            raise RunError(f"{path}: can't be written ({error.strerror}).") from None
    finally:
        temporary.unlink(missing_ok=True)


def open_to_others(path: Path, mode: int) -> None:
    """Gives what `tempfile` made for its owner alone the usual permissions.

    Args:
        path: of a file or folder.
        mode: 0o666 or 0o777, of which the user's umask is taken away.
    """
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)


def check_can_be_made(folder: Path) -> None:
    """Refuses a folder that can't be made or written to.

    Raises:
        RunError: it or the nearest folder above it is a file, or read-only.
    """
    nearest = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not nearest.is_dir():
        raise RunError(f"{folder}: can't be made, {nearest} is a file.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunError(f"{folder}: can't be made or written to, {nearest} is read-only.")


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text; what stands for undecodable bytes in file names becomes escapes."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        RunError: no such file, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: can't be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: is not JSON ({error}).") from None
