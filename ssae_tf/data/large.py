"""What images lose that are larger than a network sees them, and how to lose less."""

from __future__ import annotations

import math

from ssae_tf.config import GATED_DOWNSAMPLING

_LARGE = 2_000_000
# What a defect needs at the inspection size, pixels, to be seen.
_DEFECT = 3
_MORE = 4
"""How many times the pixels a proposed size has."""


def is_large(size: tuple[int, int]) -> bool:
    """Whether (height, width) is more than 2 megapixels."""
    return size[0] * size[1] > _LARGE


def smallest_defect(size: tuple[int, int], inspected: tuple[int, int]) -> int:
    """Pixels of an image that a defect must have across to be seen."""
    return math.ceil(_DEFECT * max(size[0] / inspected[0], size[1] / inspected[1]))


def proposed_size(size: tuple[int, int], inspected: tuple[int, int]) -> tuple[int, int]:
    """(height, width) for more detail: four times the pixels, in the proportions of the image."""
    area = _MORE * inspected[0] * inspected[1]
    height = math.sqrt(area * size[0] / size[1])
    sides = (height, area / height)
    return (_rounded(sides[0]), _rounded(sides[1]))


def _rounded(side: float) -> int:
    return max(GATED_DOWNSAMPLING, round(side / GATED_DOWNSAMPLING) * GATED_DOWNSAMPLING)


def what_is_lost(size: tuple[int, int], inspected: tuple[int, int]) -> str:
    """A sentence about large images."""
    return (
        f"Images of {shown(size)} are inspected at {shown(inspected)}: a defect must have about "
        f"{_DEFECT} pixels there, so {smallest_defect(size, inspected)} pixels of the image, or it "
        "gets lost."
    )


def what_helps(size: tuple[int, int], inspected: tuple[int, int]) -> str:
    """A sentence on how to see more of them, and what it costs."""
    height, width = proposed_size(size, inspected)
    smallest = smallest_defect(size, (height, width))
    return (
        f"If defects are smaller, cut the images to the part; or --set "
        f"scoring.inspection_size=[{height},{width}] shows defects of {smallest} pixels, in "
        f"{_MORE} times the time for each image. Training takes as long as before, at its own size "
        "(with preset quick about ten minutes on two cores; `fit` says at its start how long "
        "here): compare both on images with defects."
    )


def cost_of_own_size(size: tuple[int, int], trained: int) -> str:
    """Sentences about large images that are inspected at their own size.

    Args:
        trained: side of what training sees, whole images.
    """
    times = round(size[0] * size[1] / trained**2)
    larger = max(size) / trained
    height, width = proposed_size(size, (trained, trained))
    return (
        f"Images of {shown(size)} are inspected at their own size: {times} times the pixels that "
        f"training sees ({trained}²), so {times} times its time and memory for each image, and "
        f"all looks up to {larger:.0f} times larger there than what was learnt. --set "
        f"scoring.inspection_size=[{height},{width}] is nearer to both."
    )


def shown(size: tuple[int, int]) -> str:
    """(height, width) as people write it, the width first."""
    return f"{size[1]} × {size[0]}"
