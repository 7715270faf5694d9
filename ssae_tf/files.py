"""Files and folders that are complete or absent: made aside, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssae_tf.errors import RunError, WriteError

# Of Linux: <fcntl.h> and <linux/fs.h>.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# A disk that takes no more.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# What `tempfile` puts into a name.
_RANDOM = "[a-z0-9_]{8}"


@contextlib.contextmanager
def atomic(path: Path, *, folder_flushed: bool = True) -> Iterator[Path]:
    """Gives a temporary path beside `path`, renamed to it when the block ends without error.

    The data are on the disk before they have the name.

    Args:
        folder_flushed: whether its name is on the disk as well at the end of the block. False in
            `flushed_at_end`, which does so once for many files.

    Raises:
        WriteError: the folder can't be made or written to, the disk is full, or `path` is a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _temporary(path)
    except OSError as error:
        raise not_written(path, error) from None
    except ValueError as error:
        # A null byte in the name.
        raise WriteError(f"{path}: can't be written ({error}).") from None
    try:
        yield temporary
        open_to_others(temporary, 0o666)
        flush(temporary)
        temporary.replace(path)
        if folder_flushed:
            flush(path.parent)
    except OSError as error:
        raise not_written(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _temporary(path: Path) -> tuple[int, Path]:
    """A new file beside a path, with the lock that tells `sweep` that its process lives."""
    while True:
        # The suffix stays, because writers choose the format by it.
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix
        )
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        # Swept before it had its lock.
        os.close(handle)


def sweep(folder: Path, is_ours: Callable[[str], object]) -> None:
    """Deletes what `atomic` has left in a folder where its process died."""
    names = os.listdir(folder) if folder.is_dir() else []
    for path in (folder / name for name in names if is_temporary(name) and is_ours(name)):
        # Another process has it, or this one must not: it stays.
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(handle)


def not_written(path: Path, error: OSError) -> WriteError:
    """What to raise where a file or folder can't be written."""
    return WriteError(f"{path}: can't be written ({error.strerror or error}).")


def write_error(error: Exception, folder: Path) -> WriteError | None:
    """What to raise for an error of somebody else's writer, where the disk is to blame for it.

    Args:
        error: an OSError, or one of native code, whose text has the system's words.
    """
    if isinstance(error, WriteError):
        return error
    text = str(error)
    if isinstance(error, OSError) and error.errno in _DISK:
        return not_written(Path(error.filename or folder), error)
    reason = next((os.strerror(code) for code in _DISK if os.strerror(code) in text), None)
    if reason is None:
        return None
    named = re.search(rf"{re.escape(str(folder))}[^\s;:'\"]*", text)
    return WriteError(f"{named[0] if named else folder}: can't be written ({reason}).")


def is_temporary_of(name: str, path: Path) -> bool:
    """Whether a file name is one that `atomic(path)` may have left when its process died."""
    return bool(re.fullmatch(rf"\.{re.escape(path.stem)}\.{_RANDOM}{re.escape(path.suffix)}", name))


def is_temporary(name: str) -> bool:
    """Whether a file name is one that `atomic` may have left, of whatever file."""
    return bool(re.fullmatch(rf"\..+\.{_RANDOM}(\.\w+)?", name))


def flush(path: Path) -> None:
    """Has the disk hold what was written to a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems flush no folders.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def flushed_at_end(folder: Path) -> Iterator[None]:
    """Has the disk hold the names in a folder when the block ends, whatever ends it.

    Raises:
        WriteError: it can't.
    """
    try:
        yield
    finally:
        try:
            flush(folder)
        except OSError as error:
            raise not_written(folder, error) from None


def flush_tree(folder: Path) -> None:
    """`flush` for a folder and all below it."""
    for name, _, files in os.walk(folder):
        for file in files:
            flush(Path(name, file))
        flush(Path(name))


def put_in_place(new: Path, place: Path, old: Path) -> Path:
    """Has a folder take the place of another one, which is never without either if possible.

    Linux exchanges two names in one step on most file systems. Elsewhere `place` is gone for the
    time between two renames, and who finds it so renames `new` to it.

    Args:
        new: complete; on the file system of `place`.
        place: of a folder, an empty one, or none.
        old: a free name for what was there, for file systems that exchange no names.

    Returns:
        Where that is now; `old` also where there was none.

    Raises:
        RunError: it can't be renamed.
    """
    try:
        flush_tree(new)
        replaced = old
        if not place.is_dir() or not any(place.iterdir()):
            new.rename(place)
        elif exchange(new, place):
            replaced = new
        else:
            place.rename(old)
            new.rename(place)
        flush(place.parent)
    except OSError as error:
        raise not_written(place, error) from None
    return replaced


def exchange(one: Path, other: Path) -> bool:
    """Exchanges the names of two folders in one step; False where the system can't.

    Raises:
        OSError: the names can't be changed at all.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(code, os.strerror(code), str(other))


def remove_files(folder: Path, names: Sequence[str], *, itself: bool = True) -> None:
    """Deletes files by name, and those of the folders they were in that are empty then.

    Args:
        names: relative to `folder`; deleted in this order.
        itself: whether `folder` goes as well, if it is empty.

    Raises:
        RunError: a file can't be deleted.
    """
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{error.filename}: can't be deleted ({error.strerror}).") from None
    above = {one for name in names for one in Path(name).parents if one.name}
    for one in sorted(above, key=lambda one: -len(one.parts)):
        with contextlib.suppress(OSError):
            (folder / one).rmdir()
    if itself:
        with contextlib.suppress(OSError):
            folder.rmdir()


def remove_empty(folder: Path) -> None:
    """Deletes a folder and all below it as far as they hold no files."""
    for name, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(name)


def open_to_others(path: Path, mode: int) -> None:
    """Gives what `tempfile` made for its owner alone the usual permissions.

    Args:
        mode: 0o666 or 0o777, of which the user's umask is taken away.
    """
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)


def check_can_be_made(folder: Path) -> None:
    """Raises a RunError where a folder or the nearest one above it is a file, or read-only."""
    nearest = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not nearest.is_dir():
        raise RunError(f"{folder}: can't be made, {nearest} is a file.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunError(f"{folder}: can't be made or written to, {nearest} is read-only.")


def check_can_be_replaced(folder: Path, to_keep: Mapping[str, Path]) -> None:
    """Refuses a folder whose place another one can't take in one step, or must not.

    Args:
        to_keep: what must not lie in it, in words, and where it is; beside the working directory.

    Raises:
        RunError: it holds one of them, it is a link or a mount point, or the folder above it can't
            be written to.
    """
    for what, path in {**to_keep, "the working directory": Path.cwd()}.items():
        if path.resolve().is_relative_to(folder.resolve()):
            raise RunError(f"{folder}: holds {what}, so it is not replaced; choose another --out.")
    kind = "a link" if folder.is_symlink() else "a mount point" if _is_mount(folder) else ""
    if kind:
        raise RunError(
            f"{folder}: is {kind}, whose place a new folder can't take in one step; choose another "
            "--out, or remove what is in it."
        )
    check_can_be_made(folder.with_name(f".{folder.name}.new"))


def _is_mount(folder: Path) -> bool:
    if os.path.ismount(folder):
        return True
    try:
        # Also what is mounted from elsewhere on the same file system.
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    points = (line.split()[4] for line in text.splitlines())
    whole = str(folder.resolve())
    return any(
        re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), point) == whole for point in points
    )


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text; what stands for undecodable bytes in file names becomes escapes."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """Indented JSON, which has no NaN."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


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
