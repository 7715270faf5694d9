"""What a run is on disk: its files, the mark that makes a folder ours, and how it is replaced.

A run that replaces another is made beside it, as `.NAME.new`, and takes its name when it is
complete; `.NAME.old` is there for a moment where a file system can't exchange two names. Whoever
writes into a run holds its lock and repairs first what a killed process has left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ssae_tf.errors import RunError, SsaeError, WriteError
from ssae_tf.files import (
    flush,
    is_temporary,
    is_temporary_of,
    not_written,
    put_in_place,
    read_json,
    remove_empty,
    remove_files,
    sweep,
    write_json,
    write_text,
)
from ssae_tf.runtime.lock import LOCK_FILE, check_free, locked

MARK_FILE = "ssae_tf.json"
CONFIG_FILE = "config.json"
SPLIT_FILE = "split.json"
ENVIRONMENT_FILE = "environment.json"
WEIGHTS_FILE = "weights.npz"
IGNORE_FILE = "ignore.png"
CALIBRATION_FILE = "calibration.json"
METRICS_FILE = "metrics.json"
VERDICTS_FILE = "verdicts.csv"
REPORT_FILE = "report.html"
ABLATION_FILE = "ablation.json"
HISTORY_FILE = "history.csv"
CHECKPOINTS_FOLDER = "checkpoints"
STATE_FILE = "state.npz"
BEST_FILE = "best.npz"
LOGS_FOLDER = "logs"
SHEETS_FOLDER = "sheets"
EXPORT_FOLDER = "export"
GOLDEN_FOLDER = "golden"
GOLDEN_FILE = "golden.json"
# In the order of their images: each good one, and its corrupted copy.
GOLDEN_IMAGES = (("normal_0.png", "corrupted_0.png"), ("normal_1.png", "corrupted_1.png"))
CARD_FILE = "card.md"
# Of an artefact, and what says there that it is one.
METADATA_FILE = "metadata.json"
PARITY_FILE = "parity.json"
SUMS_FILE = "SHA256SUMS"
ARTEFACT_KIND = "ssae_tf artefact"

VERSION = 1
# What `write_together` writes, where it does so, and where it waits to be put into its place.
_PENDING_FILES = (CONFIG_FILE, CALIBRATION_FILE)
_PENDING_FOLDER = "recalibrated"
_HALF_FOLDER = f".{_PENDING_FOLDER}"
_FILES = (
    *(CONFIG_FILE, SPLIT_FILE, ENVIRONMENT_FILE, WEIGHTS_FILE, CALIBRATION_FILE),
    # Of older runs, which may be replaced.
    "weighting.npz",
    IGNORE_FILE,
    *(METRICS_FILE, VERDICTS_FILE, REPORT_FILE, ABLATION_FILE, HISTORY_FILE, LOCK_FILE, MARK_FILE),
    CARD_FILE,
    *(f"{GOLDEN_FOLDER}/{n}" for n in (GOLDEN_FILE, *(n for pair in GOLDEN_IMAGES for n in pair))),
    *(f"{CHECKPOINTS_FOLDER}/{name}" for name in (STATE_FILE, BEST_FILE)),
    *(f"{folder}/{n}" for folder in (_PENDING_FOLDER, _HALF_FOLDER) for n in _PENDING_FILES),
)
_OTHERS = re.compile(rf"{LOGS_FOLDER}/events\.out\.tfevents\.[^/]+|{SHEETS_FOLDER}/.+\.png")
_FOLDERS = (
    *(CHECKPOINTS_FOLDER, LOGS_FOLDER, SHEETS_FOLDER, EXPORT_FOLDER, GOLDEN_FOLDER),
    *(_PENDING_FOLDER, _HALF_FOLDER),
)
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Mark:
    """What makes a folder ours.

    Attributes:
        kind: "run", or "export" for a folder that an export works in.
        request: of an unfinished run, all that it takes to begin anew; None of a finished one.
        replaces: the name of the run that this one was made to replace; "" for none.
        version: of what is on disk.
    """

    kind: str = "run"
    request: dict[str, Any] | None = None
    replaces: str = ""
    version: int = VERSION


# What is whose.


def read_mark(folder: Path) -> Mark | None:
    """The mark of a folder; None where it has none of ours.

    Raises:
        RunError: that of a later version.
    """
    path = folder / MARK_FILE
    if not path.is_file():
        return None
    try:
        mark = Mark(**read_json(path))
    except (RunError, TypeError):
        return None
    if mark.version != VERSION:
        raise RunError(f"{path}: version {mark.version}, this ssae_tf knows {VERSION} only.")
    return mark


def write_mark(folder: Path, mark: Mark) -> None:
    """Makes a folder ours."""
    write_json(folder / MARK_FILE, dataclasses.asdict(mark))


def is_unused(folder: Path) -> bool:
    """Whether a folder is empty, but for what a process leaves that dies while it makes it ours."""
    names = (path.name for path in folder.iterdir())
    return all(n == LOCK_FILE or is_temporary_of(n, Path(MARK_FILE)) for n in names)


def claim(folder: Path) -> None:
    """Makes a folder that is empty, or none yet, that of a finished run; a run stays what it is.

    Raises:
        RunError: it holds anything else, or can't be written to.
    """
    if folder.is_dir() and is_run(folder):
        return
    if folder.exists() and not (folder.is_dir() and is_unused(folder)):
        raise RunError(f"{folder}: exists and is no run folder; choose another.")
    write_mark(folder, Mark())


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of ours, finished or not.

    Those of before there was a mark are known by all that `fit` wrote before it trained.
    """
    mark = read_mark(folder)
    if mark is not None:
        return mark.kind == "run"
    wanted = {
        CONFIG_FILE: {"data", "model", "training", "scoring"},
        SPLIT_FILE: {"train", "select", "calibrate"},
        ENVIRONMENT_FILE: {"schema_version", "ssae_tf", "data", "data_hash"},
    }
    return all(keys <= _keys(folder / name) for name, keys in wanted.items())


def is_artefact(folder: Path) -> bool:
    """Whether a folder is an exported artefact of ours."""
    path = folder / METADATA_FILE
    keys = _keys(path)
    if "kind" in keys:
        return bool(read_json(path)["kind"] == ARTEFACT_KIND) and "files" in keys
    # Of before there was a mark.
    return {"schema_version", "format", "runtime", "run_hash", "files", "parity"} <= keys


def artefact_files(folder: Path) -> list[str]:
    """Files that were exported into an artefact's folder, its record last."""
    files = read_json(folder / METADATA_FILE)["files"]
    return [*(files if isinstance(files, dict) else ()), PARITY_FILE, SUMS_FILE, METADATA_FILE]


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a training to go on with."""
    return (folder / CHECKPOINTS_FOLDER / STATE_FILE).is_file()


def is_finished(folder: Path) -> bool:
    """Whether a run needs no `--resume`."""
    mark = read_mark(folder)
    return (folder / CALIBRATION_FILE).is_file() and (mark is None or mark.request is None)


def _keys(path: Path) -> set[str]:
    try:
        return set(read_json(path)) if path.is_file() else set()
    except (RunError, TypeError):
        return set()


def contents(folder: Path) -> tuple[list[str], list[str]]:
    """What a run's folder holds, by names relative to it.

    Returns:
        The files that we wrote; and what we did not: files, links, and folders that are empty and
        none of ours.
    """
    exported = _exported(folder)
    ours, others = [], []
    for path in _leaves(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            others += [name] if name.split("/")[0] not in _FOLDERS else []
        elif _is_known(name) or _is_temporary(name) or name in exported:
            ours.append(name)
        else:
            others.append(name)
    return ours, others


def _leaves(folder: Path) -> Iterator[Path]:
    """All files, links and empty folders below a folder."""
    for name, folders, files in os.walk(folder):
        here = Path(name)
        yield from (here / file for file in files)
        yield from (here / one for one in folders if (here / one).is_symlink())
        if not folders and not files and here != folder:
            yield here


def _is_known(name: str) -> bool:
    return name in _FILES or _OTHERS.fullmatch(name) is not None


def _is_temporary(name: str) -> bool:
    """Whether a file is there only while a process writes."""
    above, _, last = name.rpartition("/")
    if above.split("/")[0] == SHEETS_FOLDER and is_temporary(last):
        return True
    known = (Path(one) for one in _FILES if one.rpartition("/")[0] == above)
    return above == _HALF_FOLDER or any(is_temporary_of(last, path) for path in known)


def _exported(folder: Path) -> set[str]:
    """Files of the artefacts in a run, and of exports that died there."""
    names: set[str] = set()
    for path in folder.glob(f"{EXPORT_FOLDER}/**/{METADATA_FILE}"):
        if is_artefact(path.parent):
            above = path.parent.relative_to(folder).as_posix()
            names |= {f"{above}/{name}" for name in artefact_files(path.parent)}
    for path in folder.glob(f"{EXPORT_FOLDER}/**/{MARK_FILE}"):
        mark = read_mark(path.parent)
        if mark is not None and mark.kind == "export":
            check_free(path.parent)
            names |= {one.relative_to(folder).as_posix() for one in _leaves(path.parent)}
    return names


def remove(folder: Path, *, keep: Sequence[str] = ()) -> None:
    """Deletes a run's files by name, and the folders that are empty then.

    Args:
        folder: of a run, or none; it goes as well where nothing is to be kept.

    Raises:
        RunError: a file can't be deleted.
    """
    last = (LOCK_FILE, MARK_FILE)
    names = [name for name in contents(folder)[0] if name not in (*keep, *last)]
    remove_files(folder, names, itself=False)
    for name in _FOLDERS:
        remove_empty(folder / name)
    # What a killed process leaves has its mark as long as there is anything.
    remove_files(folder, [name for name in last if name not in keep], itself=not keep)


# Writing into a run, and reading it meanwhile.


def beside(folder: Path) -> tuple[Path, Path]:
    """Where a new run of this name is made, and where the old one may go for a moment."""
    if folder.name in ("", ".."):
        folder = Path(os.path.abspath(folder))
    return folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")


@contextlib.contextmanager
def writing(folder: Path, doing: str) -> Iterator[None]:
    """Keeps other writers out of a run, and repairs what killed ones have left.

    Raises:
        RunError: another process is at work in it, or it can't be written to.
    """
    with locked(folder, doing):
        repair(folder)
        left = [name for name in contents(folder)[0] if _is_temporary(name)]
        remove_files(folder, left, itself=False)
        yield


def evaluating(folder: Path, out: Path | None) -> contextlib.AbstractContextManager[None]:
    """`writing` where figures go into the run itself; elsewhere (`out`) nobody is kept out."""
    if out is None:
        return contextlib.nullcontext()
    if os.path.realpath(out) != os.path.realpath(folder):
        sweep(out, _is_temporary)
        sweep(out / SHEETS_FOLDER, lambda _: True)
        return contextlib.nullcontext()
    return writing(folder, "ssae-tf evaluate")


def repair(folder: Path) -> None:
    """Finishes what a killed process had begun to put into its place.

    Who calls it holds the lock of the folder, if there is one.
    """
    new, old = beside(folder)
    if not folder.exists() and is_run(old):
        check_free(old)
        put_in_place(new if is_run(new) else old, folder, old)
    mark = read_mark(folder)
    if mark is not None and mark.replaces == Path(os.path.abspath(folder)).name:
        # It was complete when it took the name, and the one before is beside it still.
        for one in (new, old):
            # What can't be deleted stays: the next run that is made there tries again.
            with contextlib.suppress(RunError):
                if one.is_dir() and (is_run(one) or is_unused(one)):
                    remove(one)
        write_mark(folder, Mark())
    if folder.exists() and new.is_dir() and is_unused(new):
        # Nothing had begun there yet.
        remove(new)
    if (folder / _PENDING_FOLDER).is_dir():
        _finish_together(folder)


def write_together(folder: Path, texts: dict[str, str]) -> None:
    """Writes config.json and calibration.json, both or none.

    Args:
        folder: of a run that this process holds the lock of.

    Raises:
        RunError: they can't be written; those of before are kept.
    """
    aside = folder / _HALF_FOLDER
    remove_files(aside, _PENDING_FILES)
    try:
        for name, text in texts.items():
            write_text(aside / name, text)
    except WriteError as error:
        raise WriteError(f"{str(error).rstrip('.')}; {folder} is as it was.") from None
    # From here on `current` gives the new ones.
    put_in_place(aside, folder / _PENDING_FOLDER, aside)
    _finish_together(folder)


def _finish_together(folder: Path) -> None:
    pending = folder / _PENDING_FOLDER
    try:
        for name in _PENDING_FILES:
            if (pending / name).is_file():
                (pending / name).replace(folder / name)
        flush(folder)
        pending.rmdir()
    except OSError as error:
        raise not_written(folder, error) from None


def current(folder: Path, name: str) -> Path:
    """Where config.json or calibration.json is, also while a new one is put into its place."""
    pending = folder / _PENDING_FOLDER / name
    return pending if pending.is_file() else folder / name


def verdict_files(folder: Path) -> list[Path]:
    """What a finished run's verdicts follow from, always in one order, as a hash needs it."""
    names = (CONFIG_FILE, WEIGHTS_FILE, CALIBRATION_FILE, IGNORE_FILE)
    return [path for name in names if (path := current(folder, name)).is_file()]


def read_whole(folder: Path, read: Callable[[], _T]) -> _T:
    """What `read` makes of a run, all of it of one and the same state of the run.

    Args:
        folder: of a run that another process may replace or calibrate anew meanwhile.
        read: reads it; called again where it was replaced.
    """
    if not folder.exists():
        repair(folder)
    while True:
        before = _state(folder)
        try:
            content = read()
        except SsaeError:
            if _state(folder) == before:
                raise
            continue
        if _state(folder) == before:
            return content


def _state(folder: Path) -> list[tuple[int, int]]:
    paths = (folder, *(current(folder, name) for name in _PENDING_FILES))
    states = []
    for path in paths:
        # ValueError: a null byte in the name.
        with contextlib.suppress(OSError, ValueError):
            state = path.stat()
            states.append((state.st_ino, state.st_mtime_ns if path != folder else 0))
    return states
