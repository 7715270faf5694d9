"""Faults of images and masks, one by one: files, masks, depth and range, exposure, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssae_tf.config import DOWNSAMPLING
from ssae_tf.data import images
from ssae_tf.data.large import is_large, shown, what_helps, what_is_lost
from ssae_tf.data.mvtec import Category, Sample
from ssae_tf.data.split import name_in
from ssae_tf.data.survey import Facts

Level = Literal["error", "warning", "note"]

# Largest value of the cameras there are, by bits, in files of 16 bits.
_WHITE_LEVELS = (1023, 4095, 16383)
# Good images that are this many times brighter or darker than the median one.
_EXPOSURE = 1.5
# Share of white or black pixels that matters: above it, or above that of the median image.
_CLIPPED_SHARE = 0.05
# Of width to height, from which on images of one folder are stretched differently.
_ASPECT = 1.1
# Share of the image from which on a mask is more likely to be inverted than a defect.
_MASK_SHARE = 0.6


@dataclass(frozen=True)
class Finding:
    """One thing about a folder.

    Attributes:
        level: "error" stops `fit`, "warning" makes its results worse or misleading, "note" is good
            to know.
        title: what, in a few words.
        detail: what it means here, one sentence or two.
        names: of all images or groups of images it is about, relative to the category's folder.
        remedy: what to do, one sentence or two.
    """

    level: Level
    title: str
    detail: str
    remedy: str
    names: tuple[str, ...] = ()


def of_files(category: Category, unreadable: dict[Sample, str]) -> Iterator[Finding]:
    """Files that can't be read, and files that nobody would read."""
    if unreadable:
        yield Finding(
            "error",
            "Images that can't be read",
            f"{images_are(len(unreadable))} can't be read; `fit` stops at the first.",
            "Replace or remove them; --set data.skip_unreadable=true leaves them out.",
            tuple(unreadable.values()),
        )
    # Images without a mask have a finding of their own.
    told = tuple(line for line in category.warnings if " without a mask, " not in line)
    if told:
        yield Finding(
            "warning",
            "Files and folders passed over, or taken for something else",
            "They are not where the layout has them, or not in a format that is read.",
            "Move them to train/good, validation/good, test/KIND or ground_truth/KIND, or away; "
            f"convert images to one of {', '.join(sorted(images.EXTENSIONS))}.",
            told,
        )


def of_masks(category: Category, facts: Sequence[Facts]) -> Iterator[Finding]:
    """Masks that don't fit, and images without."""
    defective = [fact for fact in facts if fact.sample.is_anomalous]
    bare = [fact for fact in defective if fact.sample.mask_path is None]
    if bare and len(bare) < len(defective):
        yield Finding(
            "warning",
            "Defective images without mask",
            f"{len(bare)} of {len(defective)} defective images have no mask: pixel figures leave "
            "them out.",
            "Put ground_truth/KIND/NAME_mask.png beside them.",
            names_of(category, bare),
        )
    elif bare:
        yield Finding(
            "note",
            "No masks",
            "No defective image has a mask: pixel AUROC, AUPRO and pixel F1 can't be had.",
            "Put masks into ground_truth/KIND/NAME_mask.png, white where the defect is.",
        )
    wrong = [fact for fact in defective if fact.mask_error]
    if wrong:
        yield Finding(
            "error",
            "Masks that can't be used",
            f"{count_are(len(wrong), 'mask')} of another size than the image, or unreadable; `fit` "
            "stops at the first.",
            "Make them again at the image's size, or remove them.",
            tuple(fact.mask_error for fact in wrong),
        )
    empty = [fact for fact in defective if fact.mask_share == 0]
    if empty:
        yield Finding(
            "warning",
            "Empty masks",
            f"{count_are(len(empty), 'mask')} without a single pixel, and the image is among the "
            "defective ones: every true detection there counts as a false one.",
            "Draw the defect, or move the image to test/good, or remove the mask.",
            names_of(category, empty),
        )
    large = [fact for fact in defective if (fact.mask_share or 0) > _MASK_SHARE]
    if large:
        yield Finding(
            "warning",
            "Masks of most of the image",
            f"{count_are(len(large), 'mask')} over more than {_MASK_SHARE:.0%} of the image.",
            "Look whether they are inverted: masks are white on defects, black elsewhere.",
            names_of(category, large),
        )


def of_pixels(category: Category, facts: Sequence[Facts]) -> Iterator[Finding]:
    """Images without content, and of grey and colour."""
    flat = [fact for fact in facts if fact.lowest == fact.highest]
    if flat:
        yield Finding(
            "warning",
            "Images without content",
            f"{images_are(len(flat))} of one single value.",
            "Remove them: the camera was covered or off.",
            names_of(category, flat),
        )
    grey = [fact for fact in facts if fact.is_grey and fact not in flat]
    coloured = [fact for fact in facts if not fact.is_grey]
    if grey and coloured:
        yield Finding(
            "warning",
            "Grey and coloured images mixed",
            f"{images_are(len(grey))} grey, {len(coloured)} coloured: colour alone makes the fewer "
            "ones anomalous.",
            "Photograph all in the same mode of the camera, or convert all to grey.",
            names_of(category, grey if len(grey) < len(coloured) else coloured),
        )


def of_exposure(category: Category, good: Sequence[Facts]) -> Iterator[Finding]:
    """Good images that are brighter, darker or more clipped than the others."""
    means = [fact.mean for fact in good]
    middle = float(np.median(means))
    uneven = [
        fact
        for fact in good
        if max(fact.mean, middle) > _EXPOSURE * max(min(fact.mean, middle), 1e-6)
    ]
    if uneven:
        yield Finding(
            "warning",
            "Exposure differs among good images",
            f"Their mean brightness is {min(means):.1%} to {max(means):.1%} of white, its median "
            f"{middle:.1%}; {images_are(len(uneven))} more than {_EXPOSURE:g} times brighter or "
            "darker than that.",
            "Photograph with fixed exposure, gain and white balance. If the line differs like this "
            "too, keep all, and have every exposure among the calibration images.",
            names_of(category, uneven),
        )
    for end, remedy in (
        ("white", "Lower the exposure; in files of 16 bits, raise --white-level."),
        ("black", "Raise the exposure, or lower the camera's black level."),
    ):
        shares = [getattr(fact, end) for fact in good]
        limit = float(np.median(shares)) + _CLIPPED_SHARE
        clipped = [fact for fact, share in zip(good, shares, strict=True) if share > limit]
        if clipped:
            yield Finding(
                "warning",
                "Clipped images",
                f"In {len(clipped)} of {len(good)} good images more pixels are {end} than usual, "
                f"by {_CLIPPED_SHARE:.0%} of the image and more: nothing shows in these pixels.",
                remedy,
                names_of(category, clipped),
            )
    usual = float(np.median([fact.white for fact in good]))
    if usual > _CLIPPED_SHARE:
        yield Finding(
            "note",
            "White areas",
            f"In a typical good image {usual:.0%} of the pixels are white: nothing shows there.",
            "Nothing, where it is the background; lower the exposure, where it is the part.",
        )


def of_depth(category: Category, facts: Sequence[Facts], white_level: int) -> Iterator[Finding]:
    """Bits of a channel, and how much of them is used."""
    deep = [fact for fact in facts if fact.bits == 16]
    if deep and len(deep) < len(facts):
        fewer = deep if 2 * len(deep) <= len(facts) else [f for f in facts if f.bits == 8]
        yield Finding(
            "warning",
            "Files of 8 and 16 bits mixed",
            f"{len(deep)} files have 16 bits a channel, {len(facts) - len(deep)} have 8: one part "
            "looks different in each.",
            "Write all files with the same depth.",
            names_of(category, fewer),
        )
    highest = max((fact.highest for fact in deep), default=0)
    proposed = next((level for level in _WHITE_LEVELS if highest <= level), 65535)
    if deep and proposed < white_level:
        bits = proposed.bit_length()
        yield Finding(
            "warning",
            "16-bit files that hold less",
            f"The highest value in files of 16 bits is {highest}, as from a camera of {bits} bits; "
            f"with white at {white_level} the network sees images that are almost black.",
            f"Give --white-level {proposed} to fit.",
        )
    elif deep and highest > white_level:
        yield Finding(
            "warning",
            "White level below the values in the files",
            f"The highest value in files of 16 bits is {highest}, and white is at {white_level}: "
            "what is brighter is cut off.",
            f"Give --white-level {proposed}.",
            names_of(category, [fact for fact in deep if fact.highest > white_level]),
        )


def of_sizes(
    category: Category, good: Sequence[Facts], inspected: tuple[int, int] | None
) -> Iterator[Finding]:
    """Sizes that differ, are too small, or lose something at the inspection size."""
    small = [fact for fact in good if min(fact.size) < DOWNSAMPLING]
    if small:
        yield Finding(
            "error",
            "Images that are too small",
            f"{images_are(len(small))} with a side of less than {DOWNSAMPLING} pixels; `fit` stops "
            "at the first.",
            "Remove them; --set data.skip_unreadable=true leaves them out.",
            names_of(category, small),
        )
    sizes = Counter(fact.size for fact in good)
    aspects = [width / height for height, width in sizes]
    if inspected and max(aspects) > _ASPECT * min(aspects):
        (height, width), _ = sizes.most_common(1)[0]
        usual = width / height
        others = [f for f in good if not 1 / _ASPECT < f.size[1] / f.size[0] / usual < _ASPECT]
        yield Finding(
            "warning",
            "Shapes differ",
            f"Good images have {len(sizes)} sizes, of shapes from {min(aspects):.2g} to "
            f"{max(aspects):.2g} (width over height): all are stretched to "
            f"{shown(inspected)}, each differently.",
            "Cut all images to one shape.",
            names_of(category, others),
        )
    height, width = (int(np.median([fact.size[i] for fact in good])) for i in (0, 1))
    if is_large((height, width)):
        yield _of_large(height, width, inspected)


def _of_large(height: int, width: int, inspected: tuple[int, int] | None) -> Finding:
    if inspected is None:
        return Finding(
            "note",
            "Large images",
            f"Images of {shown((height, width))} are inspected at their own size, which takes "
            "time and memory.",
            "`ssae-tf latency RUN` says how long.",
        )
    return Finding(
        "note",
        "Large images are made small",
        what_is_lost((height, width), inspected),
        what_helps((height, width), inspected),
    )


def names_of(category: Category, facts: Iterable[Facts]) -> tuple[str, ...]:
    """Names of images in reports, relative to the category's folder."""
    return tuple(name_in(fact.sample.path, category.root) for fact in facts)


def images_are(count: int) -> str:
    """As in "1 image is" or "3 images are"."""
    return count_are(count, "image")


def count_are(count: int, noun: str) -> str:
    """As in "1 mask is" or "3 masks are"."""
    return f"1 {noun} is" if count == 1 else f"{count} {noun}s are"
