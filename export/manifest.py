"""SHA256SUMS: which files an artefact has and what is in them, in the format of `sha256sum`.

It tells of accidents: bits that fell over, partial copies, files of two exports mixed, an edited
metadata.json. Whoever can write to the folder can write this file anew: it is no signature.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from ssae_tf.errors import RunError
from ssae_tf.files import write_text
from ssae_tf.run_folder import GOLDEN_FOLDER, SUMS_FILE
from ssae_tf.schemas import is_inside

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
# What loaders read. Other people's files beside an artefact are let be, and so is an engine that
# `trtexec` has added: a runtime for it asks for it by name.
_OURS = (
    "*.json",
    "*.pb",
    "*.pbtxt",
    "*.tflite",
    "*.onnx",
    "*.xml",
    "*.bin",
    "variables/**/*",
    "assets/**/*",
    "assets.extra/**/*",
    f"{GOLDEN_FOLDER}/*",
)


def write_sums(folder: Path) -> None:
    """Lists all files of a folder as they are now.

    Raises:
        RunError: the list can't be written.
    """
    lines = [f"{hash_}  {name}\n" for name, hash_ in file_hashes(folder).items()]
    write_text(folder / SUMS_FILE, "".join(lines))


def file_hashes(folder: Path) -> dict[str, str]:
    """Path in a folder -> SHA-256 in hexadecimal, of all files but the list of them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS_FILE)
    return {path.relative_to(folder).as_posix(): file_hash([path]) for path in paths}


def check_sums(folder: Path, needed: Iterable[str]) -> dict[str, str]:
    """Refuses a folder whose files are not those that `write_sums` has listed.

    Args:
        needed: files that must be among the listed ones.

    Returns:
        What is listed, as `file_hashes` gives it.

    Raises:
        RunError: there is no list; a file is missing, altered, outside of the folder or not listed.
    """
    if not _lies_in(folder / SUMS_FILE, folder):
        raise RunError(f"{folder / SUMS_FILE}: lies outside of the folder.")
    listed = _listed(folder / SUMS_FILE)
    for name in needed:
        if name not in listed:
            raise RunError(f"{folder / SUMS_FILE}: doesn't list {name}, so it is incomplete.")
    for name, expected in listed.items():
        path = folder / name
        if not _lies_in(path, folder):
            raise RunError(f"{folder / SUMS_FILE}: {name} lies outside of the folder.")
        if not _is_file(path):
            raise RunError(f"{folder}: has no {name}, so the artefact is incomplete.")
        if _hash_of(path) != expected:
            raise RunError(f"{path}: is not the file that was exported, but damaged.")
    for pattern in _OURS:
        for path in folder.glob(pattern):
            name = path.relative_to(folder).as_posix()
            if name not in listed and not path.is_dir():
                raise RunError(f"{path}: is not in {SUMS_FILE}, so it is of another export.")
    return listed


def file_hash(paths: Iterable[Path]) -> str:
    """SHA-256 in hexadecimal of some files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _listed(path: Path) -> dict[str, str]:
    """Path in the folder -> SHA-256."""
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except FileNotFoundError:
        raise RunError(
            f"{path.parent}: has no {path.name}, so the artefact is incomplete."
        ) from None
    except OSError as error:
        raise RunError(f"{path}: can't be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise RunError(f"{path}: is no list of hashes.") from None
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in listed:
            raise RunError(f"{path}: line {number} is no hash and new path: {line[:80]!r}.")
        listed[match[2]] = match[1]
    return listed


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a listed path is inside the folder, links followed."""
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else ""
    try:
        return is_inside(name) and path.resolve().is_relative_to(folder.resolve())
    # Links that lead in circles are no OSError before Python 3.13; names may be too long.
    except (OSError, RuntimeError):
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    # A name that is too long, for instance.
    except OSError:
        return False


def _hash_of(path: Path) -> str:
    try:
        return file_hash([path])
    except OSError as error:
        raise RunError(f"{path}: can't be read ({error.strerror}).") from None
