"""Which mask belongs to which image, by name.

A mask lies below ground_truth/<kind> as its image does below test/<kind>, under one of these names:

    <name>_mask.png      MVTec AD
    <name>.png           VisA, BTAD
    <name>_gt.png        KolektorSDD2; likewise <name>_label.png
    <name>/*.png         MVTec LOCO: all masks in a folder, which are united

The first of them that is there is taken. Names are compared in Unicode's composed form, because
macOS writes decomposed ones.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

_ENDINGS = ("_mask", "", "_gt", "_label")
_ANY_ENDING = re.compile(r"[_-](mask|gt|label)$", re.IGNORECASE)


class Oddities:
    """Sentences about what was found and is passed over, by kind of oddity."""

    _SHOWN = 3

    def __init__(self) -> None:
        self._sentences: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, sentence: str) -> None:
        """Adds a sentence; `kind` names many of its kind, such as "empty folders"."""
        self._sentences[kind].append(sentence)

    def summed(self) -> tuple[str, ...]:
        """The first three sentences of each kind, and how many more there are."""
        lines = []
        for kind, sentences in self._sentences.items():
            lines += sentences[: self._SHOWN]
            if len(sentences) > self._SHOWN:
                lines.append(f"… and {len(sentences) - self._SHOWN} more {kind}.")
        return tuple(lines)


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", name)


def keys(paths: Iterable[Path], folder: Path) -> dict[Path, str]:
    """Path -> what a mask and its image have in common: where they lie in a folder, no suffix."""
    above = len(folder.parts)
    # Path.relative_to takes forty times as long.
    names = ((path, "/".join(path.parts[above:])) for path in paths)
    return {path: composed(os.path.splitext(name)[0]) for path, name in names}


def part_masks(images: Mapping[Path, str]) -> tuple[dict[Path, str], dict[Path, str]]:
    """Parts images from masks that lie beside them, as NAME_mask.png beside NAME.png.

    Returns:
        The images and the masks, with their keys.
    """
    stems = set(images.values())
    masks = {
        path: key
        for path, key in images.items()
        if (stem := _ANY_ENDING.sub("", key)) != key and stem in stems
    }
    return {path: key for path, key in images.items() if path not in masks}, masks


def pair(images: Mapping[Path, str], masks: Mapping[Path, str], odd: Oddities) -> dict[Path, Path]:
    """Finds the mask of each image of a kind of defect.

    Args:
        odd: gets a sentence for each mask that is left out, and for each that several images have.

    Returns:
        Image -> its mask, or its folder of masks, for the images that have one.
    """
    files, folders = _by_key(masks, besides={_folder(key) for key in images.values()})
    paired: dict[Path, Path] = {}
    first: dict[Path, Path] = {}
    used: set[Path] = set()
    # What else an image could have for its mask -> what it has.
    rivals: dict[Path, Path] = {}
    for image, key in images.items():
        choices = [(mask, [mask]) for end in _ENDINGS for mask in files[_with_ending(key, end)]]
        choices += [(inside[0].parent, inside)] if (inside := folders[key]) else []
        if not choices:
            continue
        (mask, members), *others = choices
        paired[image] = mask
        used.update(members)
        rivals |= {rival: mask for _, left in others for rival in left}
        if mask in first:
            odd.add(
                "images that share a mask",
                f"{image}: has the same mask as {first[mask].name}, {mask.name}.",
            )
        first.setdefault(mask, image)
    _name_left_over([mask for mask in masks if mask not in used], rivals, odd)
    return paired


def _name_left_over(masks: Iterable[Path], rivals: Mapping[Path, Path], odd: Oddities) -> None:
    for mask in masks:
        if mask in rivals:
            sentence = f"{mask}: left out, because {rivals[mask].name} is there too."
            odd.add("masks beside another", sentence)
        else:
            odd.add("masks without their image", f"{mask}: a mask without its image, left out.")


def _by_key(
    masks: Mapping[Path, str], besides: set[str]
) -> tuple[defaultdict[str, list[Path]], defaultdict[str, list[Path]]]:
    """Masks by their own key, and by the folder they lie in if no image lies in such a one."""
    files: defaultdict[str, list[Path]] = defaultdict(list)
    folders: defaultdict[str, list[Path]] = defaultdict(list)
    for mask, key in masks.items():
        files[_with_ending(key, "")].append(mask)
        if _folder(key) not in besides:
            folders[_folder(key)].append(mask)
    return files, folders


def _with_ending(key: str, ending: str) -> str:
    """A key with an ending, in one spelling: "-Mask" as "_mask"."""
    return _ANY_ENDING.sub(lambda ending: f"_{ending[1].lower()}", key + ending)


def _folder(key: str) -> str:
    return key.rpartition("/")[0]
