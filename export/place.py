"""Where an artefact goes: never over what is to be kept, and complete or not at all.

It is made in `.NAME.new` beside its place. Where a file system can't exchange two names, the
artefact before is `.NAME.new/old` for a moment.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from ssae_tf.detector import Detector
from ssae_tf.errors import RunError, WriteError
from ssae_tf.export.artefact import versions_in
from ssae_tf.export.formats import FORMATS
from ssae_tf.files import (
    check_can_be_made,
    check_can_be_replaced,
    open_to_others,
    put_in_place,
    remove_files,
    write_error,
)
from ssae_tf.run_folder import (
    MARK_FILE,
    Mark,
    artefact_files,
    is_artefact,
    is_run,
    is_unused,
    read_mark,
    write_mark,
)
from ssae_tf.runtime.lock import LOCK_FILE, locked

# In the working folder.
_OLD, _KIND, _DOING = "old", "export", "ssae-tf export"


def choose_place(
    run: Path,
    detector: Detector,
    name: str,
    precision: str,
    out: str | Path | None,
    overwrite: bool,
) -> Path:
    """The folder that the artefact will be, which is free or may be replaced.

    Raises:
        RunError: it is neither.
    """
    is_default = precision == FORMATS[name].precisions[0]
    own = run / "export" / (name if is_default else f"{name}-{precision}")
    if name == "savedmodel":
        # The model's name in TF Serving.
        model = detector.config.category or run.resolve().name
        base = Path(out) if out is not None else own / model
        place = _version(base, overwrite)
    else:
        place = Path(out) if out is not None else own
        _tidy(_working(place))
        if place.exists() and not is_artefact(place):
            if not place.is_dir() or any(place.iterdir()):
                raise RunError(f"{place}: exists and is no artefact; choose another with --out.")
        elif place.exists() and not overwrite:
            raise RunError(f"{place}: exists; --overwrite replaces it, --out chooses another.")
    _check_can_be_replaced(place)
    check_can_be_made(place)
    return place


def _version(base: Path, overwrite: bool) -> Path:
    """The folder of a SavedModel, one of several in that of the model."""
    if base.exists() and not base.is_dir():
        raise RunError(f"{base}: is a file; choose another folder with --out.")
    if is_artefact(base):
        raise RunError(f"{base}: is an artefact itself; choose another folder with --out.")
    if is_run(base):
        raise RunError(f"{base}: is a run, not a folder for artefacts; choose another --out.")
    for working in base.glob(".*.new"):
        _tidy(working)
    newest = max((int(one.name) for one in versions_in(base)), default=0)
    if overwrite and newest and not is_artefact(base / str(newest)):
        raise RunError(f"{base / str(newest)}: is no artefact, so it is not replaced.")
    return base / str(newest if overwrite and newest else newest + 1)


def _check_can_be_replaced(place: Path) -> None:
    """Refuses an artefact with anything in it that was not exported into it."""
    if not place.is_dir() or not any(place.iterdir()):
        return
    if not is_artefact(place):
        raise RunError(f"{place}: is no artefact, so it is not replaced.")
    ours = set(artefact_files(place))
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if path.is_symlink() or (not path.is_dir() and name not in ours):
            raise RunError(
                f"{path}: was not exported, so {place} is not replaced; move it away, or choose "
                "another --out."
            )
    check_can_be_replaced(place, {})


def _working(place: Path) -> Path:
    return place.with_name(f".{place.name}.new")


@contextlib.contextmanager
def working_folder(place: Path) -> Iterator[Path]:
    """A folder beside `place` to work in, for one process at a time.

    In the end it is removed, and with it the folders that were made for it and are empty.

    Raises:
        RunError: it can't be made, or another process is in it.
    """
    parents = [one for one in place.absolute().parents if not one.exists()]
    working = _working(place)
    try:
        working.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{place}: can't be made ({error.strerror}).") from None
    with locked(working, _DOING):
        _clear(working)
        write_mark(working, Mark(_KIND))
        try:
            yield working
        finally:
            _remove(working)
            for parent in parents:
                with contextlib.suppress(OSError):
                    parent.rmdir()


def _remove(working: Path) -> None:
    _clear(working)
    # The mark last: without it the next export would not know whose folder this is.
    remove_files(working, [LOCK_FILE, MARK_FILE])


def _clear(working: Path) -> None:
    """Removes what an export has left there whose process died."""
    if not (is_unused(working) or _is_working(working)):
        raise RunError(f"{working}: is in the way of an export, and not of one; move it away.")
    for path in working.iterdir():
        if path.name in (LOCK_FILE, MARK_FILE):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _is_working(folder: Path) -> bool:
    mark = read_mark(folder)
    return mark is not None and mark.kind == _KIND


def _tidy(working: Path) -> None:
    """Removes what an export has left whose process died, its artefact before in place again."""
    place, old = working.with_name(working.name[1:-4]), working / _OLD
    if not working.is_dir() or not (is_unused(working) or _is_working(working)):
        return
    # A process that lives keeps its folder.
    with contextlib.suppress(RunError), locked(working, _DOING):
        if old.is_dir() and not place.exists():
            old.rename(place)
        _remove(working)


@contextlib.contextmanager
def told_what_is_kept(place: Path, working: Path) -> Iterator[None]:
    """Says so where the disk is full, whoever has found it out."""
    is_there = place.is_dir() and any(place.iterdir())
    kept = f"{place} is as it was" if is_there else "nothing of the export is kept"
    try:
        yield
    except Exception as error:
        cause = write_error(error, working)
        if cause is None:
            raise
        raise WriteError(f"{str(cause).rstrip('.')}; {kept}.") from error


def put(result: Path, place: Path) -> None:
    """Has an artefact take its place; what was there is in the working folder then.

    Args:
        result: in the working folder.
        place: of an artefact, an empty folder, or none.

    Raises:
        RunError: it can't, or holds what was not exported.
    """
    _check_can_be_replaced(place)
    open_to_others(result, 0o777)
    put_in_place(result, place, result.with_name(_OLD))
