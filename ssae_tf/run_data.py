"""Where the images of a run are: at the recorded place, or at another, told by their hash."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from ssae_tf.config import RunConfig
from ssae_tf.data.kinds import GOOD
from ssae_tf.data.mvtec import Category, Sample, load_category
from ssae_tf.data.split import Split, data_hash, split_names
from ssae_tf.errors import DataError, RunError
from ssae_tf.progress import Reporter
from ssae_tf.run_folder import ENVIRONMENT_FILE, SPLIT_FILE
from ssae_tf.schemas import EnvironmentFile, SplitFile, read


def own_data(folder: Path) -> Path:
    """Where the images of a run were when it was made.

    Raises:
        RunError: the run's records can't be read.
        DataError: no such folder any more, or an empty one, as where a disk is not mounted.
    """
    data = Path(read(folder / ENVIRONMENT_FILE, EnvironmentFile).data)
    if not os.path.isdir(data) or not os.listdir(data):
        raise DataError(f"{data}: missing or empty. {_were_there(folder)}")
    return data


def _were_there(folder: Path) -> str:
    return f"The images of {folder} were there: --data gives their new place."


def own_category(folder: Path, config: RunConfig) -> Category:
    """The images of a run where they were when it was made.

    Raises:
        RunError, DataError: as `own_data`, or its folder holds something else now.
    """
    data = own_data(folder)
    try:
        return category_at(data, folder, config)
    except DataError as error:
        raise DataError(f"{error} {_were_there(folder)}") from None


def category_at(data: str | Path, folder: Path, config: RunConfig) -> Category:
    """A run's category at any place; its folder may have another name if the images are the same.

    Raises:
        DataError: as `load_category`.
    """
    try:
        return load_category(data, config.category or None)
    except DataError:
        category = _moved_category(data, folder, config)
        if category is None:
            raise
        return category


def _moved_category(data: str | Path, folder: Path, config: RunConfig) -> Category | None:
    """The images of a run at another place; None where those there are others, by their hash."""
    for name in (config.category or None, None):
        # RunError: nothing is recorded that they could be compared with.
        with contextlib.suppress(DataError, RunError):
            category = load_category(data, name)
            if is_own(category, folder):
                return category
    return None


def is_own(category: Category, folder: Path) -> bool:
    """Whether images are those that a run was started with, wherever they are."""
    return data_hash(category) == read(folder / ENVIRONMENT_FILE, EnvironmentFile).data_hash


def tested_category(
    folder: Path, config: RunConfig, data: str | Path | None, category: str | None
) -> Category:
    """What a run is measured on: its own category and images, where nothing else is asked for.

    Raises:
        RunError, DataError: the run's records can't be read, or no such category.
    """
    data = data or own_data(folder)
    return load_category(data, category) if category else category_at(data, folder, config)


@dataclass(frozen=True)
class CalibrationImages:
    """Good images to calibrate on.

    Attributes:
        samples: the images.
        seen: the images of training; none where they are not to be found.
        root: the folder that names are relative to.
        is_own: whether they are the run's own.
    """

    samples: tuple[Sample, ...]
    seen: tuple[Sample, ...]
    root: Path
    is_own: bool


def calibration_images(
    folder: Path, config: RunConfig, data: str | Path | None, reporter: Reporter
) -> CalibrationImages:
    """Finds the good images that a run is to be calibrated on.

    Args:
        data: the place of the run's own images, of which those kept for calibration are taken, or
            a folder of other good images, of which all are; None for the run's own.

    Raises:
        RunError, DataError: as `run_split`, or `data` holds no images.
    """
    moved = None if data is None else _moved_category(data, folder, config)
    if data is None or moved is not None:
        split = _recorded_split(folder, moved or own_category(folder, config))
        return CalibrationImages(split.calibrate, split.train, split.root, is_own=True)
    others = told(load_category(data, None), reporter)
    seen: tuple[Sample, ...] = ()
    try:
        seen = _recorded_split(folder, own_category(folder, config)).train
    except DataError:
        reporter.warn(
            f"The images that {folder} was trained on are not to be found: what is promised holds "
            "if none of them is among these."
        )
    return CalibrationImages(others.train, seen, others.root, is_own=False)


def run_split(
    folder: Path, config: RunConfig, data: str | Path | None = None
) -> tuple[Category, Split]:
    """The images of a run, split as split.json has it, whatever was added since.

    Args:
        data: where to look for them first: they may have moved there.

    Raises:
        RunError: the run's records can't be read.
        DataError: the images are not there any more.
    """
    moved = None if data is None else _moved_category(data, folder, config)
    category = moved or own_category(folder, config)
    return category, _recorded_split(folder, category)


def check_split(folder: Path, split: Split) -> None:
    """Compares a split with that which a run was started with.

    Raises:
        RunError: it is another, as where the table of `DataConfig.group` has changed.
    """
    names = read(folder / SPLIT_FILE, SplitFile)
    if split_names(split) != {part: list(getattr(names, part)) for part in split_names(split)}:
        raise RunError(
            f"{folder}: its images fall into other parts than {SPLIT_FILE} has, as where the file "
            "of their groups has changed; expected what the training was started with."
        )


def _recorded_split(folder: Path, category: Category) -> Split:
    names = read(folder / SPLIT_FILE, SplitFile)
    train, select, calibrate = (
        tuple(Sample(category.root / name, GOOD) for name in part)
        for part in (names.train, names.select, names.calibrate)
    )
    good = {sample.path for sample in (*category.train, *category.validation)}
    for sample in (*train, *select, *calibrate):
        # One that is gone matters where it is read, which says so.
        if sample.path not in good and sample.path.exists():
            raise RunError(
                f"{folder / SPLIT_FILE}: names {sample.path}, which is none of the good images."
            )
    return Split(train, select, calibrate, root=category.root)


def told(category: Category, reporter: Reporter) -> Category:
    """The category, with its warnings passed on."""
    for warning in category.warnings:
        reporter.warn(warning)
    return category
