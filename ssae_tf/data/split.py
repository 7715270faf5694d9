"""The good images in three parts: to train on, to choose the checkpoint, to set the threshold.

Who falls where follows from a hash of seed and name, not from a random generator: it is the same
under every NumPy version and on every file system, and an image added later moves few others.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ssae_tf.data.mvtec import Category, Sample, mask_files
from ssae_tf.data.parts import part_of
from ssae_tf.errors import DataError, InputError, count_of

# Up to this many, every image is in every part; above, a part of them is kept from training.
_ALL_SHARED = 3
# Up to this many, there are too few to keep separate ones for the checkpoint and the threshold.
_SOME_SHARED = 10


@dataclass(frozen=True)
class Split:
    """The parts, each in the order of the category, none empty.

    Attributes:
        train: to learn from.
        select: to choose the checkpoint.
        calibrate: to set the threshold.
        notes: one sentence for each thing that is shared, with what it costs; none when the
            parts are disjoint.
        root: the folder that `split_names` gives names relative to.
    """

    train: tuple[Sample, ...]
    select: tuple[Sample, ...]
    calibrate: tuple[Sample, ...]
    notes: tuple[str, ...] = ()
    root: Path = Path()


def split_normal(
    category: Category,
    seed: int,
    select_fraction: float,
    calibrate_fraction: float,
    group: str | None = None,
) -> Split:
    """Splits the good images of a category.

    `validation/good` is *calibrate* where it exists, and then nothing of `train/good` is. With
    more than 10 images in `train/good` the parts are disjoint. With 4 to 10, *select* is kept
    from training and *calibrate* is all images: the highest score decides the threshold, so
    that those seen in training can be added to the few unseen without lowering it. With 1 to 3,
    every image is in every part.

    With `group`, all images of one part of the product fall on the same side, and the shares are
    as near as that allows; too few such groups to fall on different sides are in every part.

    Args:
        category: with at least one image in `train`.
        select_fraction: share of `train/good` for *select*, above 0 and below 0.5.
        group: as `DataConfig.group`. An image that it says nothing of is a part by itself.

    Returns:
        The parts; a part that should have fewer than one image has one.

    Raises:
        DataError: `group` says nothing of any image, or can't be read.
        InputError: `category.train` is empty, or a share is out of range.
    """
    for name, share in (("select", select_fraction), ("calibrate", calibrate_fraction)):
        if not 0 < share < 0.5:
            raise InputError(f"Expected 0 < {name}_fraction < 0.5. Received: {share}.")
    images, validation = category.train, category.validation
    count = len(images)
    if not count:
        raise InputError(f"Expected a category with good images. Received: {category.name!r}.")
    if count <= _ALL_SHARED:
        notes = _notes_all_shared(count, bool(validation))
        return Split(images, images, validation or images, notes, category.root)
    groups = _shuffled_groups(category, seed, group)
    sides = 2 if validation or count <= _SOME_SHARED else 3
    if len(groups) < sides:
        notes = _notes_few_groups(count, len(groups), bool(validation))
        return Split(images, images, validation or images, notes, category.root)

    select = max(1, round(select_fraction * count))
    calibrate = 0
    if not validation and count <= _SOME_SHARED:
        select = min(max(1, round((select_fraction + calibrate_fraction) * count)), count // 2)
    elif not validation:
        # Two shares near one half can round up to all images, and training needs one.
        calibrate = min(max(1, round(calibrate_fraction * count)), count - select - 1)

    in_select = _take(groups, select, sides - 1)
    rest = [one for one in groups if one[0] not in in_select]
    in_calibrate = _take(rest, calibrate, 1) if calibrate else set()
    in_either = in_select | in_calibrate
    some_shared = not validation and not calibrate
    return Split(
        train=tuple(one for one in images if one not in in_either),
        select=tuple(one for one in images if one in in_select),
        calibrate=validation or tuple(one for one in images if one in in_calibrate) or images,
        notes=_notes_some_shared(count, len(in_select)) if some_shared else (),
        root=category.root,
    )


def split_names(split: Split) -> dict[str, list[str]]:
    """The parts as names, for the records of a run.

    Returns:
        "train", "select" and "calibrate" -> paths relative to `split.root`, with forward slashes.
    """
    parts = {"train": split.train, "select": split.select, "calibrate": split.calibrate}
    return {
        part: [name_in(sample.path, split.root) for sample in samples]
        for part, samples in parts.items()
    }


def data_hash(samples: Category | Iterable[Sample]) -> str:
    """Fingerprint of a list of images and masks, cheap enough for any data set.

    It changes when a file is added, removed, renamed or changes its size, and not when the whole
    folder moves or the order differs; it does not look into the files.

    Args:
        samples: a category, all parts of which count, or any samples.

    Returns:
        SHA-256 in hexadecimal of the sorted lines "name, tab, size in bytes". Names are relative
        to the category's root, or to the folder that all samples have in common.
    """
    if isinstance(samples, Category):
        root = samples.root
        samples = (*samples.train, *samples.validation, *samples.test)
    else:
        samples = tuple(samples)
        folders = {sample.path.parent for sample in samples}
        root = Path(os.path.commonpath(folders)) if folders else Path()
    paths = {sample.path for sample in samples}
    paths |= {path for sample in samples for path in mask_files(sample)}
    lines = sorted(f"{name_in(path, root)}\t{_size(path)}" for path in paths)
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()


def _shuffled_groups(category: Category, seed: int, group: str | None) -> list[tuple[Sample, ...]]:
    """The good images of each part of the product, in an order that the seed decides."""
    by_key: dict[str, list[Sample]] = defaultdict(list)
    matches = 0
    known = (lambda _: None) if group is None else part_of(group)
    for sample in category.train:
        name = name_in(sample.path, category.root)
        part = known(name)
        matches += part is not None
        # File names have no null character: a part is never taken for an image.
        key = name if part is None else f"\0{part}"
        by_key[key].append(sample)
    if group is not None and not matches:
        raise DataError(
            f"{category.root}: the group {group!r} is in none of the {len(category.train)} file "
            f"names, such as {category.train[0].path.name}."
        )
    return [tuple(by_key[key]) for key in sorted(by_key, key=lambda key: _draw(key, seed))]


def _take(groups: list[tuple[Sample, ...]], images: int, left: int) -> set[Sample]:
    taken: list[tuple[Sample, ...]] = []
    size = 0
    for group in groups:
        if len(groups) - len(taken) == left:
            break
        if abs(size + len(group) - images) < abs(size - images):
            taken.append(group)
            size += len(group)
    return {sample for group in taken or [min(groups, key=len)] for sample in group}


def _notes_few_groups(count: int, groups: int, has_validation: bool) -> tuple[str, ...]:
    parts = "one part" if groups == 1 else f"{groups} parts"
    shared = "training and the choice of the checkpoint"
    cost = "a model that merely learns them by heart goes unnoticed"
    if not has_validation:
        shared = "training, the choice of the checkpoint and the threshold"
        cost = "the threshold is too low and new good parts will be rejected"
    return (f"All {count} good images are of {parts}: {shared} share them, so {cost}.",)


def _notes_all_shared(count: int, has_validation: bool) -> tuple[str, ...]:
    images = count_of(count, "good image")
    notes = [
        f"With {images}, training and the choice of the checkpoint share all of them: "
        "a model that merely learns them by heart goes unnoticed."
    ]
    if not has_validation:
        notes.append(
            f"With {images}, the threshold is set on what training has seen, so it is too low "
            "and good parts will be rejected: add images, or put some in validation/good."
        )
    return tuple(notes)


def _notes_some_shared(count: int, unseen: int) -> tuple[str, ...]:
    kept = "1 is" if unseen == 1 else f"{unseen} are"
    return (
        f"Of {count} good images {kept} kept from training, for the checkpoint and the threshold "
        f"alike; the threshold also uses the {count - unseen} that training has seen, which lie "
        "lower than new ones will, so expect more good parts to be rejected than with more "
        "images.",
    )


def _draw(name: str, seed: int) -> bytes:
    return hashlib.sha256(os.fsencode(f"{seed}/{name}")).digest()


def name_in(path: Path, root: Path) -> str:
    """A path relative to a folder, with forward slashes; as it is where it is not below it."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _size(path: Path) -> int:
    """Bytes of a file, -1 where there is none: reading it will say so, or leave it out."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
