"""Paths of files on this machine and in object stores, one interface for both.

What has a scheme (`s3://bucket/name`) is opened by fsspec, which comes with the extra `ray`.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssae_tf.errors import DataError, MissingExtraError, SsaeError, one_line
from ssae_tf.files import atomic

RAY_PIP = "pip install 'ssae-tf[ray]'"


def is_remote(place: str) -> bool:
    """Whether a place has a scheme; local paths have none."""
    return "://" in place


def is_pattern(place: str) -> bool:
    """Whether a place has `*`, `?` or `[`, and is no file of that very name."""
    return any(sign in place for sign in "*?[") and (is_remote(place) or not os.path.lexists(place))


def absolute(place: str) -> str:
    """A place as other processes find it, whatever folder they are in."""
    return place if is_remote(place) else os.path.abspath(place)


def beside(name: str, place: str) -> str:
    """What a name in a file means: relative ones start from the folder that the file is in."""
    if is_remote(name) or os.path.isabs(name):
        return name
    return posixpath.join(posixpath.dirname(place), name)


def read_bytes(place: str) -> bytes:
    """The content of a file.

    Raises:
        DataError: it can't be read.
    """
    with _failing(place, "read"):
        if not is_remote(place):
            return Path(place).read_bytes()
        files, path = open_store(place)
        return bytes(files.cat_file(path))


def write_bytes(place: str, content: bytes) -> None:
    """Writes a file that is either complete or absent: so are objects of a store by themselves.

    Raises:
        WriteError: it can't be written on this machine.
        DataError: it can't be written to a store.
    """
    if not is_remote(place):
        with atomic(Path(place)) as temporary:
            temporary.write_bytes(content)
        return
    with _failing(place, "written"):
        files, path = open_store(place)
        files.makedirs(posixpath.dirname(path), exist_ok=True)
        files.pipe_file(path, content)


def names_in(folder: str) -> list[str]:
    """Names of what is directly in a folder, sorted; none of a file or of what does not exist.

    Raises:
        DataError: it can't be listed.
    """
    with _failing(folder, "listed"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if not is_remote(folder):
            return sorted(os.listdir(folder))
        files, path = open_store(folder)
        # A store's library remembers what was there before.
        files.invalidate_cache()
        if files.isdir(path):
            return sorted(posixpath.basename(one.rstrip("/")) for one in files.ls(path, False))
    return []


def files_in_store(place: str) -> list[str]:
    """The files that a place with a scheme names: below a folder, by a pattern, or itself.

    Raises:
        DataError: it can't be listed.
        MissingExtraError: as in `open_store`.
    """
    with _failing(place, "listed"):
        files, path = open_store(place)
        if is_pattern(place):
            paths = files.glob(path)
        elif files.isdir(path):
            paths = files.find(path)
        else:
            return [place]
        return [files.unstrip_protocol(one) for one in paths]
    return []


def open_store(place: str) -> tuple[Any, str]:
    """The file system of a place with a scheme, and its path there.

    Raises:
        MissingExtraError: fsspec, or what it needs for this scheme, is not installed.
        DataError: no such scheme.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingExtraError(f"{place}: a place with a scheme needs fsspec: {RAY_PIP}") from None
    try:
        files, path = url_to_fs(place)
    except ImportError as error:
        raise MissingExtraError(f"{place}: {one_line(error)}.") from None
    except ValueError as error:
        raise DataError(f"{place}: fsspec can't open it ({error}).") from None
    return files, path


@contextlib.contextmanager
def _failing(place: str, what: str) -> Iterator[None]:
    """Whatever a store's library raises becomes one sentence."""
    try:
        yield
    except SsaeError:
        raise
    except FileNotFoundError:
        raise DataError(f"{place}: can't be {what}, it does not exist.") from None
    except PermissionError:
        raise DataError(f"{place}: can't be {what}, permission denied.") from None
    except Exception as error:
        raise DataError(f"{place}: can't be {what} ({one_line(error)}).") from None
