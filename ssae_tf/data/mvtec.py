"""From a folder to samples: the layout of MVTec AD, or a plain folder of good pictures.

    ROOT/CATEGORY/train/good/*                             good pictures to learn from
    ROOT/CATEGORY/validation/good/*                        optional, for the threshold
    ROOT/CATEGORY/test/<kind>/*                            optional; the kind `good` or a defect's
    ROOT/CATEGORY/ground_truth/<kind>/<name>_mask.png      what is defective in test/<kind>/<name>.*

Only names are looked at here, so that a large data set lists quickly; the pictures themselves are
checked when they are read.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssae_tf.data import images
from ssae_tf.errors import DataError

GOOD = "good"

_LOGGER = logging.getLogger("ssae_tf")
_MASK_ENDING = "_mask"


@dataclass(frozen=True)
class Sample:
    """One picture.

    Attributes:
        path: of the picture.
        kind: "good" or the kind of defect.
        mask_path: of the ground truth; None for good pictures and where it is missing.
    """

    path: Path
    kind: str
    mask_path: Path | None = None

    @property
    def is_anomalous(self) -> bool:
        """Whether the picture shows a defect."""
        return self.kind != GOOD


@dataclass(frozen=True)
class Category:
    """The pictures of one category, in natural order of their names.

    Attributes:
        root: the category's own folder.
        name: for reports and recipes.
        train: good pictures to learn from, at least one.
        validation: good pictures for the threshold, often none.
        test: good and defective pictures, none for a plain folder.
        warnings: one sentence for each oddity that was found and passed over.
    """

    root: Path
    name: str
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...] = ()
    test: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of defect in the test pictures, sorted."""
        kinds = {sample.kind for sample in self.test if sample.is_anomalous}
        return tuple(sorted(kinds, key=_natural))


def list_categories(root: str | Path) -> list[str]:
    """Names of the categories under a root: the folders with a `train/good` in them.

    Raises:
        DataError: the root is missing or no folder.
    """
    return [folder.name for folder in _folders(_existing(root)) if _is_category(folder)]


def load_category(root: str | Path, name: str | None = None) -> Category:
    """Finds the pictures of a category and pairs them with their masks.

    Args:
        root: a folder of categories, a category's own folder, or a plain folder of good pictures.
        name: of the category. Not needed where `root` holds one category or is one; for a plain
            folder it is only a label, by default the folder's name.

    Raises:
        DataError: no such folder or category, several categories and no name, no good pictures to
            learn from, or a folder that is none of the three.
    """
    root = _existing(root)
    if name and (Path(name).name != name or name == ".."):
        raise DataError(f"Expected the name of a category under {root}. Received: {name!r}.")
    own_name = root.resolve().name
    if _is_category(root) and (not name or name == own_name):
        return _load(root, own_name)
    if name and _is_category(root / name):
        return _load(root / name, name)

    categories = list_categories(root)
    if categories and name:
        raise DataError(
            f"{root}: no category {name!r} (a folder with train/good); "
            f"found: {', '.join(categories)}."
        )
    if len(categories) > 1:
        raise DataError(f"{root}: name one of its categories: {', '.join(categories)}.")
    if categories:
        return _load(root / categories[0], categories[0])
    if _is_category(root):
        raise DataError(f"{root}: is the category {own_name!r} itself. Received: {name!r}.")

    pictures = _pictures(root)
    if not pictures:
        raise DataError(
            f"{root}: expected categories (folders with train/good), a train/good, "
            f"or good pictures ({_endings()}); found none of them."
        )
    return Category(root, name or own_name, _good(pictures))


def read_sample_mask(sample: Sample, shape: tuple[int, int]) -> np.ndarray | None:
    """Reads the ground truth of a sample.

    Args:
        sample: good or anomalous.
        shape: (height, width) of its picture.

    Returns:
        (H, W) bool, True on defects, all False for a good picture; None for a defective one
        without mask.

    Raises:
        DataError: the mask is unreadable or of another size than the picture.
    """
    if not sample.is_anomalous:
        return np.zeros(shape, np.bool_)
    if sample.mask_path is None:
        return None
    mask = images.read_mask(sample.mask_path)
    if mask.shape != tuple(shape):
        raise DataError(
            f"{sample.mask_path}: the mask is {mask.shape[1]} x {mask.shape[0]} pixels, "
            f"its picture {sample.path} is {shape[1]} x {shape[0]}."
        )
    return mask


def find_pictures(paths: Iterable[str | Path]) -> list[Path]:
    """Pictures named one by one or by folder.

    Args:
        paths: files and folders in any mix. Folders are searched to any depth, in natural order.
            A file is taken whatever its name, and so is what does not exist: reading it gives the
            error that belongs to it.

    Returns:
        The pictures in the order of `paths`. A folder without any gives a warning on the logger
        `ssae_tf`.

    Raises:
        DataError: a folder can't be listed.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            _pictures_below(path), key=lambda found: [_natural(part) for part in found.parts]
        )
        if not inside:
            _LOGGER.warning("%s: holds no pictures (%s).", path, _endings())
        found += inside
    return found


def _load(folder: Path, name: str) -> Category:
    train = _pictures(folder / "train" / GOOD)
    if not train:
        raise DataError(f"{folder / 'train' / GOOD}: holds no pictures ({_endings()}).")
    validation = folder / "validation" / GOOD
    test: list[Sample] = []
    warnings: list[str] = []
    kinds = _folders(folder / "test") if (folder / "test").is_dir() else []
    for kind in kinds:
        pictures = _pictures(kind)
        if kind.name == GOOD:
            test += _good(pictures)
        else:
            masks = folder / "ground_truth" / kind.name
            samples, oddities = _pair(pictures, _pictures(masks) if masks.is_dir() else [])
            test += samples
            warnings += oddities
    warnings += _masks_of_no_kind(folder / "ground_truth", {kind.name for kind in kinds})
    return Category(
        root=folder,
        name=name,
        train=_good(train),
        validation=_good(_pictures(validation)) if validation.is_dir() else (),
        test=tuple(test),
        warnings=tuple(warnings),
    )


def _pair(pictures: list[Path], masks: list[Path]) -> tuple[list[Sample], list[str]]:
    """Samples of one kind of defect, each with its mask, and what did not match."""
    warnings = []
    by_stem: dict[str, Path] = {}
    for mask in masks:
        stem = mask.stem.removesuffix(_MASK_ENDING)
        if stem == mask.stem or stem not in {picture.stem for picture in pictures}:
            warnings.append(f"{mask}: a mask without its picture, left out.")
        elif stem in by_stem:
            warnings.append(f"{mask}: left out, because {by_stem[stem].name} is there too.")
        else:
            by_stem[stem] = mask
    samples = []
    first: dict[str, Path] = {}
    for picture in pictures:
        mask_path = by_stem.get(picture.stem)
        if mask_path is None:
            warnings.append(f"{picture}: has no mask, pixel metrics leave it out.")
        elif picture.stem in first:
            warnings.append(
                f"{picture}: has the same mask as {first[picture.stem].name}, {mask_path.name}."
            )
        first.setdefault(picture.stem, picture)
        samples.append(Sample(picture, picture.parent.name, mask_path))
    return samples, warnings


def _masks_of_no_kind(ground_truth: Path, kinds: set[str]) -> list[str]:
    """Warnings for masks in folders that no defect pictures belong to."""
    if not ground_truth.is_dir():
        return []
    warnings = []
    for folder in _folders(ground_truth):
        masks = _pictures(folder)
        if folder.name == GOOD and masks:
            warnings.append(f"{folder}: masks of good pictures are left out.")
        elif folder.name not in kinds:
            warnings += [f"{mask}: a mask without its picture, left out." for mask in masks]
    return warnings


def _good(pictures: list[Path]) -> tuple[Sample, ...]:
    return tuple(Sample(picture, GOOD) for picture in pictures)


def _existing(root: str | Path) -> Path:
    root = Path(root)
    if not root.exists():
        raise DataError(f"{root}: no such folder.")
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder, found a file.")
    return root


def _is_category(folder: Path) -> bool:
    # Path.is_dir raises where a folder may not be entered, such as a disk's lost+found.
    return os.path.isdir(folder / "train" / GOOD)


def _pictures(folder: Path) -> list[Path]:
    # A broken link is kept: reading it names it, where passing over it would hide the loss.
    return [path for path in _visible(folder) if images.is_picture_name(path) and not path.is_dir()]


def _pictures_below(folder: Path) -> list[Path]:
    found = _pictures(folder)
    for inner in _folders(folder):
        # Links to folders can form a ring.
        if not inner.is_symlink():
            found += _pictures_below(inner)
    return found


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _visible(folder: Path) -> list[Path]:
    """What a folder holds, in natural order, without what systems and tools leave behind."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise DataError(f"{folder}: can't be listed ({error.strerror}).") from error
    names = [name for name in names if not name.startswith(".") and name != "__MACOSX"]
    return [folder / name for name in sorted(names, key=_natural)]


def _natural(name: str) -> tuple[list[str | int], str]:
    """Sorting key that puts 2.png before 10.png; the name itself parts 1.png from 01.png."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def _endings() -> str:
    return ", ".join(sorted(images.EXTENSIONS))
