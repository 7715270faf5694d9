"""One writer at a time in a folder; the lock of a process that has died blocks nobody."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ssae_tf.errors import RunError

LOCK_FILE = ".lock"


@contextlib.contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Keeps all others out of a folder that ask here, wherever it is moved meanwhile.

    Args:
        doing: what for, as in "ssae-tf fit".

    Raises:
        RunError: another process is in it, or it can't be written to.
    """
    try:
        directory, handle = _acquired(folder)
    except OSError as error:
        raise RunError(f"{folder}: can't be written to ({error.strerror}).") from None
    try:
        since = datetime.datetime.now().astimezone().isoformat(" ", timespec="seconds")
        record = {"pid": os.getpid(), "since": since, "doing": doing}
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(record).encode(), 0)
        except OSError as error:
            raise RunError(f"{folder}: can't be written to ({error.strerror}).") from None
        yield
    finally:
        # By the folder's handle: it may have another name now, or be gone.
        with contextlib.suppress(OSError):
            os.unlink(LOCK_FILE, dir_fd=directory)
        os.close(handle)
        os.close(directory)


def check_free(folder: Path) -> None:
    """Raises a RunError where another process is in a folder."""
    try:
        handle = os.open(folder / LOCK_FILE, os.O_RDWR)
    except OSError:
        return
    try:
        _lock(handle, folder)
    finally:
        os.close(handle)


def _acquired(folder: Path) -> tuple[int, int]:
    """Handles of the folder and of its locked file."""
    while True:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            handle = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666, dir_fd=directory)
        except FileNotFoundError:
            # The folder was replaced between the two lines.
            os.close(directory)
            continue
        except OSError:
            os.close(directory)
            raise
        try:
            _lock(handle, folder)
        except BaseException:
            os.close(handle)
            os.close(directory)
            raise
        if os.fstat(handle).st_nlink and os.path.samestat(os.stat(folder), os.fstat(directory)):
            return directory, handle
        # The one before let go of it after it was opened here, or has moved the folder.
        os.close(handle)
        os.close(directory)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(f"{folder}: {_holder(handle)}; wait for it, or stop it.") from None
    except OSError as error:
        # Some network file systems have no locks.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise


def _holder(handle: int) -> str:
    try:
        record = json.loads(os.pread(handle, 1000, 0))
        who = f"`{record['doing']}` (process {record['pid']}, since {record['since']})"
    except (ValueError, KeyError, TypeError):
        # It has only just begun.
        who = "another process"
    return f"{who} is at work in it"
