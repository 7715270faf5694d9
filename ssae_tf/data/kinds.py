"""The kinds of images in a category's folder, and sentences about what is not understood there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ssae_tf.data.listing import image_endings, images_below, listed
from ssae_tf.data.pairing import Oddities, composed, keys, part_masks
from ssae_tf.errors import DataError, count_of

GOOD = "good"
TRAIN, VALIDATION, TEST, GROUND_TRUTH = "train", "validation", "test", "ground_truth"
PARTS = (TRAIN, VALIDATION, TEST, GROUND_TRUTH)

# In any case, and with any sign between words.
_MEANING_GOOD = frozenset(
    {"good", "ok", "okay", "normal", "pass", "passed"}
    | {"defectfree", "nodefect", "nodefects", "nondefective", "anomalyfree"}
)
_MEANING_MASKS = frozenset({"groundtruth", "gt", "mask", "masks"})


def is_good(name: str) -> bool:
    """Whether a folder of this name holds good images: "good", "OK", "Normal", "no_defect"."""
    return _plain_name(name) in _MEANING_GOOD


def images_by_kind(part: Path, odd: Oddities) -> dict[Path, list[Path]]:
    """The folders of train/, validation/ or test/ -> the images in each, to any depth."""
    if not part.is_dir():
        return {}
    folders = _folders_of_kinds(part, odd)
    good = [folder for folder in folders if is_good(folder.name)]
    if [folder.name for folder in good] not in ([], [GOOD]):
        names = " and ".join(folder.name for folder in good)
        are = "is" if len(good) == 1 else "are"
        odd.add("folders taken for good images", f"{part}: {names} {are} taken for good images.")
    kinds = [folder for folder in folders if _plain_name(folder.name) not in _MEANING_MASKS]
    for folder in folders:
        if folder not in kinds:
            odd.add("folders of masks among kinds", f"{folder}: left out, not expected in {part}.")
    return {kind: _images_of_kind(kind, odd) for kind in kinds}


def _folders_of_kinds(part: Path, odd: Oddities) -> list[Path]:
    loose, folders = listed(part)
    if loose:
        sentence = (
            f"{part}: {count_of(len(loose), 'image')} left out, expected in {part.name}/<kind>/."
        )
        odd.add("folders with images outside of a kind", sentence)
    return folders


def _images_of_kind(folder: Path, odd: Oddities) -> list[Path]:
    """The images of a kind, without those in folders of masks, or of good ones among defects."""
    paths = images_below(folder)
    if not paths:
        odd.add("folders without images", f"{folder}: holds no images ({image_endings()}).")
    unexpected = _MEANING_MASKS if is_good(folder.name) else _MEANING_MASKS | _MEANING_GOOD
    above = len(folder.parts)
    kept: list[Path] = []
    strange: dict[Path, None] = {}
    for path in paths:
        names = map(_plain_name, path.parts[above:-1])
        if unexpected.isdisjoint(names):
            kept.append(path)
        else:
            strange[path.parent] = None
    for place in strange:
        odd.add("folders left out of a kind", f"{place}: left out, not expected in {folder}.")
    return kept


def apart(
    kind: Path, paths: Sequence[Path], odd: Oddities
) -> tuple[dict[Path, str], dict[Path, str]]:
    """The images of a folder and the masks beside them, with what pairs them."""
    shown, masks = part_masks(keys(paths, kind))
    if masks:
        images, first = count_of(len(masks), "image"), next(iter(masks)).name
        sentence = f"{kind}: {images} taken for masks, the first: {first}."
        odd.add("folders with masks beside their images", sentence)
    return shown, masks


def mask_folders(ground_truth: Path, odd: Oddities) -> dict[str, Path]:
    """Name -> folder of masks, also under the name's composed form."""
    if not ground_truth.is_dir():
        return {}
    names = {folder.name: folder for folder in _folders_of_kinds(ground_truth, odd)}
    return {composed(name): folder for name, folder in names.items()} | names


def name_images_without_mask(kind: Path, missing: Sequence[Path], odd: Oddities) -> None:
    """Counts the images of a kind of defect that have no mask."""
    if missing:
        odd.add(
            "kinds of defect that lack masks",
            f"{kind}: {count_of(len(missing), 'image')} without a mask, left out of pixel metrics; "
            f"the first: {missing[0].relative_to(kind)}.",
        )


def name_masks_of_no_kind(folder: Path, odd: Oddities) -> None:
    """Counts the masks in a folder that no images of a defect belong to."""
    masks = images_below(folder)
    if masks and is_good(folder.name):
        odd.add("folders of masks", f"{folder}: masks of good images are left out.")
    elif masks:
        sentence = (
            f"{folder}: {count_of(len(masks), 'image')} left out, masks without test/{folder.name}."
        )
        odd.add("folders of masks without images", sentence)


def name_strangers(folder: Path, odd: Oddities) -> None:
    """Names images that are in a category's folder and in no part of it."""
    loose, folders = listed(folder)
    strange = [one.name for one in folders if one.name not in PARTS and holds_images(one)]
    strange += [path.name for path in loose[:1]]
    if strange:
        odd.add(
            "folders beside train",
            f"{folder}: images outside of {', '.join(PARTS)} are left out: {', '.join(strange)}.",
        )


def holds_images(folder: Path) -> bool:
    """Whether there are images in a folder or in one inside it; no deeper, which may take long."""
    try:
        paths, folders = listed(folder)
        return bool(paths) or any(listed(inner)[0] for inner in folders)
    except DataError:
        return False


def _plain_name(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()
