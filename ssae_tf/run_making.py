"""Making a run, in a place of its own or beside the one it replaces; all of it, or none."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ssae_tf.errors import RunError
from ssae_tf.files import check_can_be_made, check_can_be_replaced, not_written, put_in_place
from ssae_tf.run_folder import (
    CALIBRATION_FILE,
    CHECKPOINTS_FOLDER,
    MARK_FILE,
    STATE_FILE,
    Mark,
    beside,
    contents,
    has_checkpoint,
    is_finished,
    is_run,
    is_unused,
    read_mark,
    remove,
    repair,
    write_mark,
    writing,
)
from ssae_tf.runtime.lock import LOCK_FILE


@dataclasses.dataclass
class Begun:
    """A run that is being made.

    Attributes:
        folder: its name in the end.
        place: where it is until then; often the same.
        kept: whether there is something in it that an error should not take away.
    """

    folder: Path
    place: Path
    kept: bool = False


@contextlib.contextmanager
def begun(folder: Path, request: dict[str, Any], data: Path, *, overwrite: bool) -> Iterator[Begun]:
    """A place to make a run in: the folder itself, or one beside it where there is a run to keep.

    Unless it is `kept`, an error leaves nothing of it.

    Raises:
        RunError: the folder holds something to keep, can't be written to or replaced, or another
            process is at work in it.
    """
    if not folder.exists():
        repair(folder)
    was_there = folder.exists()
    if was_there:
        _check_is_run(folder)
    check_can_be_made(folder)
    above = [one for one in Path(os.path.abspath(folder)).parents if not one.exists()]
    with contextlib.ExitStack() as stack:
        if was_there:
            stack.enter_context(writing(folder, "ssae-tf fit"))
        one = Begun(folder, _place(folder, data, overwrite=overwrite))
        if was_there and one.place == folder:
            remove(folder, keep=(LOCK_FILE, MARK_FILE))
            write_mark(folder, Mark(request=request))
        else:
            stack.enter_context(_made_aside(one, request))
        try:
            yield one
        except BaseException:
            if not one.kept:
                _give_up(one, above, was_there=was_there)
            raise


@contextlib.contextmanager
def taken_up(folder: Path) -> Iterator[Begun]:
    """A run that was interrupted, or one that was to replace another.

    Args:
        folder: of the run; where one was to be replaced, either of the two.

    Raises:
        RunError: there is nothing to go on from, or another process is at work in it.
    """
    mark = read_mark(folder)
    if mark is not None and folder.name == f".{mark.replaces}.new":
        folder = folder.with_name(mark.replaces)
    new, old = beside(folder)
    nothing = RunError(f"{folder}: has no {CHECKPOINTS_FOLDER}/{STATE_FILE} to go on from.")
    if not any(is_run(one) for one in (folder, new, old)):
        raise nothing
    with contextlib.ExitStack() as stack:
        if not folder.exists():
            repair(folder)
        if folder.exists():
            stack.enter_context(writing(folder, "ssae-tf fit --resume"))
        place = new if is_to_become(new, folder) else folder
        if place == new:
            stack.enter_context(writing(new, "ssae-tf fit --resume"))
        mark = read_mark(place)
        begins_anew = mark is not None and mark.request is not None
        if not (has_checkpoint(place) or is_finished(place) or begins_anew):
            raise nothing
        yield Begun(folder, place, kept=True)


def is_to_become(new: Path, folder: Path) -> bool:
    """Whether the folder beside a run is a newer run, and not what is left of the one before."""
    mark = read_mark(new)
    if mark is None or mark.request is None:
        return False
    return not folder.exists() or mark.replaces == folder.name


def finish(one: Begun) -> None:
    """Gives a complete run its name.

    Raises:
        RunError: something foreign has come into the run that is to be replaced, or it is exported
            from; nothing is lost.
    """
    if one.place != one.folder:
        replaces = f"`ssae-tf fit --resume {one.folder}` replaces it"
        try:
            others = contents(one.folder)[1] if one.folder.exists() else []
        except RunError as error:
            # An export from it.
            raise RunError(f"{str(error).rstrip('.')}, and {replaces}.") from None
        if others:
            raise RunError(
                f"{one.folder / others[0]}: came meanwhile into the run that is to be replaced; "
                f"move it away, and {replaces}."
            )
        replaced = put_in_place(one.place, one.folder, beside(one.folder)[1])
        try:
            remove(replaced)
        finally:
            write_mark(one.folder, Mark())
    else:
        write_mark(one.folder, Mark())


@contextlib.contextmanager
def _made_aside(one: Begun, request: dict[str, Any]) -> Iterator[None]:
    """Makes a marked folder beside the run, which becomes the run at once where there is none."""
    new, _ = beside(one.folder)
    try:
        new.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(new, error) from None
    _check_is_run(new)
    with writing(new, "ssae-tf fit"):
        remove(new, keep=(LOCK_FILE, MARK_FILE))
        replaces = one.folder.name if one.place == new else ""
        write_mark(new, Mark(request=request, replaces=replaces))
        if one.place != new:
            put_in_place(new, one.folder, new)
        yield


def _place(folder: Path, data: Path, *, overwrite: bool) -> Path:
    """Where to make a run: `folder`, or beside it what is to replace it."""
    new, _ = beside(folder)
    hint = f", `ssae-tf fit --resume {folder}` goes on with it"
    if not folder.exists():
        if has_checkpoint(new) and not overwrite:
            raise RunError(f"{new}: was interrupted; --overwrite begins anew{hint}.")
        return folder
    if is_unused(folder):
        return folder
    others = contents(folder)[1]
    mark = read_mark(folder)
    is_trained = has_checkpoint(folder) or (folder / CALIBRATION_FILE).is_file()
    begins_anew = mark is not None and mark.request is not None and not is_trained
    if not (overwrite or begins_anew):
        can_go_on = has_checkpoint(new) or (has_checkpoint(folder) and not is_finished(folder))
        raise RunError(
            f"{folder}: exists; --overwrite replaces it, --out chooses another"
            f"{hint if can_go_on else ''}."
        )
    if others:
        raise RunError(
            f"{folder / others[0]}: is none of the files of a run, so {folder} is not replaced; "
            "move it away, or choose another folder with --out."
        )
    if begins_anew:
        return folder
    check_can_be_replaced(folder, {"the images": data})
    return new


def _check_is_run(folder: Path) -> None:
    """Refuses what is neither empty nor a run of ours, before anything is written into it."""
    if not (folder.is_dir() and (is_unused(folder) or is_run(folder))):
        raise RunError(f"{folder}: exists and is no run folder; choose another with --out.")


def _give_up(one: Begun, above: Sequence[Path], *, was_there: bool) -> None:
    """Removes a run that has nothing to keep, and the folders that were made for it."""
    if one.place.exists():
        is_ours = not was_there or one.place != one.folder
        remove(one.place, keep=() if is_ours else (LOCK_FILE,))
    for folder in above:
        with contextlib.suppress(OSError):
            folder.rmdir()
