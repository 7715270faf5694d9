"""Where an artefact goes: never over what is to be kept, and complete or not at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ssae_tf.detector import Detector
from ssae_tf.errors import RunError
from ssae_tf.export.artefact import versions_in
from ssae_tf.export.formats import FORMATS
from ssae_tf.export.metadata import METADATA_FILE
from ssae_tf.files import check_can_be_made, open_to_others


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
        base = Path(out) if out is not None else own / (_model_name(detector, run))
        if base.exists() and not base.is_dir():
            raise RunError(f"{base}: is a file; choose another folder with --out.")
        if (base / METADATA_FILE).is_file():
            raise RunError(f"{base}: is an artefact itself; choose another folder with --out.")
        newest = max((int(one.name) for one in versions_in(base)), default=0)
        if overwrite and newest and not (base / str(newest) / METADATA_FILE).is_file():
            raise RunError(f"{base / str(newest)}: is no artefact, so it is not replaced.")
        place = base / str(newest if overwrite and newest else newest + 1)
    else:
        place = Path(out) if out is not None else own
        if place.exists():
            is_artefact = (place / METADATA_FILE).is_file()
            if not place.is_dir() or (any(place.iterdir()) and not is_artefact):
                raise RunError(f"{place}: exists and is no artefact; choose another with --out.")
            if is_artefact and not overwrite:
                raise RunError(f"{place}: exists; --overwrite replaces it, --out chooses another.")
    check_can_be_made(place)
    return place


def _model_name(detector: Detector, run: Path) -> str:
    """Of the model in TF Serving."""
    return detector.config.category or run.resolve().name


@contextlib.contextmanager
def working_folder(place: Path) -> Iterator[Path]:
    """A folder beside `place` to work in.

    In the end it is removed, and with it the folders that were made for it and are empty.

    Raises:
        RunError: it can't be made.
    """
    parents = [one for one in place.absolute().parents if not one.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=place.parent, prefix=".export-"))
    except OSError as error:
        raise RunError(f"{place}: can't be made ({error.strerror}).") from None
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for parent in parents:
            with contextlib.suppress(OSError):
                parent.rmdir()


def put(result: Path, place: Path) -> None:
    """Renames a folder into its place; what was there goes when the new one stands.

    Raises:
        RunError: it can't be renamed.
    """
    try:
        open_to_others(result, 0o777)
        old = result.with_name("old")
        if place.exists():
            place.rename(old)
        result.rename(place)
    except OSError as error:
        raise RunError(f"{place}: can't be written ({error.strerror}).") from None
