"""From a folder to samples: the layout of MVTec AD, or a plain folder of good images.

    ROOT/CATEGORY/train/good/**                        good images to learn from
    ROOT/CATEGORY/validation/good/**                   optional, for the threshold
    ROOT/CATEGORY/test/<kind>/**                       optional; the kind `good` or a defect's
    ROOT/CATEGORY/ground_truth/<kind>/<name>_mask.*    what is defective in test/<kind>/<name>.*

`good` may have another name (`kinds.is_good`), masks other names and places (`pairing`). What is
passed over, or not understood, gets a sentence.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssae_tf.data import images
from ssae_tf.data.kinds import (
    GOOD,
    GROUND_TRUTH,
    PARTS,
    TEST,
    TRAIN,
    VALIDATION,
    apart,
    holds_images,
    images_by_kind,
    is_good,
    mask_folders,
    name_images_without_mask,
    name_masks_of_no_kind,
    name_strangers,
)
from ssae_tf.data.listing import files_left_out, image_endings, images_below, listed, natural
from ssae_tf.data.pairing import Oddities, composed, keys, pair
from ssae_tf.errors import DataError, count_of

_LOGGER = logging.getLogger("ssae_tf")
# A mask of more than this share of its image is probably inverted.
_MAX_DEFECTIVE_SHARE = 0.6


@dataclass(frozen=True)
class Sample:
    """One image.

    Attributes:
        path: of the image.
        kind: "good" or the kind of defect.
        mask_path: of the ground truth, a file or a folder of masks to be united; None for good
            images and where it is missing.
    """

    path: Path
    kind: str
    mask_path: Path | None = None

    @property
    def is_anomalous(self) -> bool:
        """Whether the image shows a defect."""
        return self.kind != GOOD


@dataclass(frozen=True)
class Category:
    """The images of one category, in natural order of their names.

    Attributes:
        root: the category's own folder.
        name: for reports and recipes.
        train: good images to learn from, at least one.
        validation: good images for the threshold, often none.
        test: good and defective images, none for a plain folder.
        warnings: one sentence for each oddity that was found, of many of one kind the first three.
    """

    root: Path
    name: str
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...] = ()
    test: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of defect in the test images, sorted."""
        kinds = {sample.kind for sample in self.test if sample.is_anomalous}
        return tuple(sorted(kinds, key=natural))


def list_categories(root: str | Path) -> list[str]:
    """Names of the categories under a root: the folders with a `train/good` in them.

    Raises:
        DataError: the root is missing or no folder.
    """
    return [folder.name for folder in listed(_existing(root))[1] if _is_category(folder)]


def load_category(root: str | Path, name: str | None = None) -> Category:
    """Finds the images of a category and pairs them with their masks.

    Args:
        root: a folder of categories, a category's own folder, or a plain folder of good images,
            of which the folders inside are left out.
        name: of the category. Not needed where `root` holds one category or is one; for a plain
            folder it is only a label, by default the folder's name.

    Raises:
        DataError: no such folder or category, several categories and no name, no good images to
            learn from, or a folder that is none of the three.
    """
    folder, name, is_plain = _place(_existing(root), name)
    return _load_plain(folder, name) if is_plain else _load(folder, name)


def category_name(root: str | Path, name: str | None = None) -> str:
    """The name that `load_category` gives; only a plain folder's images are listed for it.

    Raises:
        DataError: no such folder or category, several categories and no name, or a folder that is
            neither of these nor has images.
    """
    folder, name, is_plain = _place(_existing(root), name)
    return _load_plain(folder, name).name if is_plain else name


def mask_files(sample: Sample) -> list[Path]:
    """The files of a sample's ground truth, several where it is a folder.

    Raises:
        DataError: the folder can't be listed.
    """
    if sample.mask_path is None:
        return []
    return listed(sample.mask_path)[0] if sample.mask_path.is_dir() else [sample.mask_path]


def read_sample_mask(sample: Sample, shape: tuple[int, int]) -> np.ndarray | None:
    """Reads the ground truth of a sample.

    A mask of most of its image gives a warning on the logger `ssae_tf`, once.

    Args:
        shape: (height, width) of its image.

    Returns:
        (H, W) bool, True on defects, all False for a good image; None for a defective one
        without mask.

    Raises:
        DataError: a mask is unreadable or of another size than the image.
    """
    if sample.is_anomalous and sample.mask_path is None:
        return None
    united = np.zeros(shape, np.bool_)
    for path in mask_files(sample) if sample.is_anomalous else ():
        mask = images.read_mask(path)
        if mask.shape != united.shape:
            raise DataError(
                f"{path}: the mask is {mask.shape[1]} x {mask.shape[0]} pixels, "
                f"its image {sample.path} is {shape[1]} x {shape[0]}."
            )
        united |= mask
    if united.mean() > _MAX_DEFECTIVE_SHARE:
        _warn_of_large_mask(sample.mask_path, round(100 * united.mean()))
    return united


@functools.cache
def _warn_of_large_mask(path: Path | None, percent: int) -> None:
    # The cache makes it once per file: masks are read again for evaluation and sheets.
    _LOGGER.warning("%s: marks %d %% of its image as defective; is it inverted?", path, percent)


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Images named one by one or by folder.

    Args:
        paths: files and folders in any mix. Folders are searched to any depth, in natural order.
            A file is taken whatever its name, and so is what does not exist: reading it gives the
            error that belongs to it.

    Returns:
        The images in the order of `paths`. A folder without any, or with other files, gives a
        warning on the logger `ssae_tf`.

    Raises:
        DataError: a folder can't be listed.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
            continue
        inside = images_below(path)
        if not inside:
            _LOGGER.warning("%s: holds no images (%s).", path, image_endings())
        if others := files_left_out([path]):
            _LOGGER.warning("%s: %s.", path, others)
        files += inside
    return files


def _place(root: Path, name: str | None) -> tuple[Path, str, bool]:
    """The folder of a category, its name, and whether it is a plain folder of images."""
    if name and (Path(name).name != name or name == ".."):
        raise DataError(f"Expected the name of a category under {root}. Received: {name!r}.")
    own_name = root.resolve().name
    if _is_category(root) and (not name or name == own_name):
        return root, own_name, False
    if name and _is_category(root / name):
        return root / name, name, False
    if name:
        _refuse_without_good(root / name)

    categories = list_categories(root)
    if categories and name:
        raise DataError(
            f"{root}: no category {name!r} (a folder with train/good); "
            f"found: {', '.join(categories)}."
        )
    if len(categories) > 1:
        raise DataError(f"{root}: name one of its categories: {', '.join(categories)}.")
    if categories:
        return root / categories[0], categories[0], False
    if _is_category(root):
        raise DataError(f"{root}: is the category {own_name!r} itself. Received: {name!r}.")
    _refuse_without_good(root)
    return root, name or own_name, True


def _load(folder: Path, name: str) -> Category:
    _check_name(name, folder)
    odd = Oddities()
    name_strangers(folder, odd)
    train, validation = (_good_images(folder / part, odd) for part in (TRAIN, VALIDATION))
    others = files_left_out(folder / part for part in PARTS if (folder / part).is_dir())
    if not train:
        hint = f"; {others}" if others else ""
        raise DataError(f"{folder / TRAIN / GOOD}: holds no images ({image_endings()}){hint}.")
    if others:
        odd.add("folders with other files", f"{folder}: {others}.")
    test = _test_samples(folder, odd)
    return Category(folder, name, train, validation, test, odd.summed())


def _load_plain(root: Path, name: str) -> Category:
    _check_name(name, root)
    paths, folders = listed(root)
    inside = ", ".join(folder.name for folder in folders if holds_images(folder))
    others = files_left_out([root], below=False)
    if not paths:
        hint = f"; images lie in {inside}: name one, or put them into train/good" if inside else ""
        hint += f"; {others}" if others else ""
        raise DataError(
            f"{root}: expected categories (folders with train/good), a train/good, "
            f"or good images ({image_endings()}); found none of them{hint}."
        )
    odd = Oddities()
    if others:
        odd.add("folders with other files", f"{root}: {others}.")
    if inside:
        odd.add("folders", f"{root}: images in its folders are left out: {inside}.")
    train = _good(apart(root, paths, odd)[0])
    return Category(root, name, train, warnings=odd.summed())


def _check_name(name: str, folder: Path) -> None:
    """Refuses a name that no JSON file can hold: that of a category is a setting of runs."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{folder}: expected a category's name in UTF-8; rename the folder."
        ) from None


def _good_images(part: Path, odd: Oddities) -> tuple[Sample, ...]:
    samples: tuple[Sample, ...] = ()
    for kind, paths in images_by_kind(part, odd).items():
        if is_good(kind.name):
            samples += _good(apart(kind, paths, odd)[0])
        elif paths:
            sentence = (
                f"{kind}: {count_of(len(paths), 'image')} left out, {part.name} is for good ones."
            )
            odd.add("folders without good images", sentence)
    return samples


def _test_samples(folder: Path, odd: Oddities) -> tuple[Sample, ...]:
    places = mask_folders(folder / GROUND_TRUTH, odd)
    unused = dict.fromkeys(places.values())
    samples: list[Sample] = []
    for kind, paths in images_by_kind(folder / TEST, odd).items():
        shown, masks = apart(kind, paths, odd)
        if is_good(kind.name):
            samples += _good(shown)
            continue
        if shown and all(key.endswith("_mask") for key in shown.values()):
            odd.add("kinds of only masks", f"{kind}: left out, all its names are those of masks.")
            continue
        mask_folder = places.get(kind.name) or places.get(composed(kind.name))
        if mask_folder is not None:
            unused.pop(mask_folder, None)
            masks |= keys(images_below(mask_folder), mask_folder)
        paired = pair(shown, masks, odd)
        name_images_without_mask(kind, [path for path in shown if path not in paired], odd)
        samples += [Sample(path, kind.name, paired.get(path)) for path in shown]
    for mask_folder in unused:
        name_masks_of_no_kind(mask_folder, odd)
    return tuple(samples)


def _good(paths: Iterable[Path]) -> tuple[Sample, ...]:
    return tuple(Sample(path, GOOD) for path in paths)


def _existing(root: str | Path) -> Path:
    root = Path(root)
    if not root.exists():
        raise DataError(f"{root}: no such folder.")
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder, found a file.")
    return root


def _is_category(folder: Path) -> bool:
    try:
        return any(is_good(inner.name) for inner in listed(folder / TRAIN)[1])
    except DataError:
        # None there, or in a folder that may not be entered, such as a disk's lost+found.
        return False


def _refuse_without_good(folder: Path) -> None:
    """Refuses what has parts of a category and nothing to learn from."""
    parts = [part for part in PARTS if os.path.isdir(folder / part)]
    if TRAIN in parts:
        listed(folder / TRAIN)
    if parts:
        raise DataError(
            f"{folder}: has {', '.join(parts)}, but no train/good (or ok, normal …) to learn from."
        )
