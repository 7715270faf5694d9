"""What folders hold: images and folders, in natural order, none read twice in one search.

Only names are looked at, so that a large data set lists quickly; the images themselves are checked
when they are read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ssae_tf.data import images
from ssae_tf.errors import DataError

# What operating systems and disk stations put beside people's files; some hold thumbnails.
_OF_SYSTEMS = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"}) | frozenset(
    {"@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found"}
)


def listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images and the folders directly in a folder, each in natural order.

    What systems and tools leave behind is passed over. A broken link is kept: reading it names it,
    where passing over it would hide the loss.

    Raises:
        DataError: it can't be listed.
    """
    entries = _visible(folder)
    shown = [path for path, is_folder in entries if not is_folder and images.is_image_name(path)]
    return shown, [path for path, is_folder in entries if is_folder]


def images_below(folder: Path) -> list[Path]:
    """The images in a folder and in the folders inside it, to any depth.

    Links to folders are followed, and what several lead to is listed once, so that a ring ends.

    Returns:
        The paths, in natural order of their parts.

    Raises:
        DataError: one of the folders can't be listed.
    """
    return [path for path in _files_below(folder) if images.is_image_name(path)]


def files_left_out(folders: Iterable[Path], *, below: bool = True) -> str:
    """Counts what folders hold beside images.

    Returns:
        "4 files left out: 3 .heic (pip install …), 1 .pdf"; "" for none.

    Raises:
        DataError: one of the folders can't be listed.
    """
    look = _files_below if below else _files_in
    files = [path for folder in folders for path in look(folder)]
    return images.left_out(path for path in files if not images.is_image_name(path))


def _files_in(folder: Path) -> list[Path]:
    return [path for path, is_folder in _visible(folder) if not is_folder]


def _files_below(folder: Path) -> Iterator[Path]:
    seen = set()
    # Folders are opened in place, which keeps the order.
    stack = [(folder, True)]
    while stack:
        path, is_folder = stack.pop()
        if not is_folder:
            yield path
        elif (identity := _identity(path)) not in seen:
            seen.add(identity)
            stack += reversed(_visible(path))


def natural(name: str) -> tuple[list[str | int], str]:
    """Sorting key that puts 2.png before 10.png; the name itself parts 1.png from 01.png."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def image_endings() -> str:
    """The endings that images may have, for messages."""
    return ", ".join(sorted(images.EXTENSIONS))


def _visible(folder: Path) -> list[tuple[Path, bool]]:
    """Paths of what a folder holds and whether each is a folder, in natural order."""
    try:
        with os.scandir(folder) as entries:
            is_folder = {entry.name: _is_folder(entry) for entry in entries}
    except OSError as error:
        raise DataError(f"{folder}: can't be listed ({error.strerror}).") from error
    names = [name for name in is_folder if not name.startswith(".") and name not in _OF_SYSTEMS]
    return [(folder / name, is_folder[name]) for name in sorted(names, key=natural)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link into a folder that may not be entered.
        return False


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise DataError(f"{folder}: can't be listed ({error.strerror}).") from error
    return status.st_dev, status.st_ino
