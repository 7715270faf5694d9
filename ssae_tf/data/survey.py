"""What each image of a folder is like: one reading of every file, a few numbers and a thumbnail."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ssae_tf.data.images import read_pixels
from ssae_tf.data.mvtec import Sample, read_sample_mask
from ssae_tf.errors import DataError
from ssae_tf.runtime.parallel import ahead

THUMBNAIL = 96
"""Side of the grey thumbnails that twins are looked for in, pixels."""
SWATCH = 16
"""Side of the thumbnails in colour that unusual images are looked for in, pixels."""
# Images of 12 megapixels take 200 MB each while they are looked at.
_MAX_THREADS = 8


@dataclass(frozen=True, eq=False)
class Facts:
    """One image, as its file has it.

    Attributes:
        sample: the image.
        size: (height, width), pixels.
        bits: 8 or 16, of a channel.
        is_grey: the three channels are equal.
        lowest, highest: values in the file.
        mean: of all pixels and channels, as a share of white (255, or the white level).
        white: share of the pixels that are white or above in one channel.
        black: share of the pixels that are 0 in all channels.
        digest: hash of size, depth and pixels: equal images have equal ones.
        thumbnail: (96, 96) float32, grey, as a share of white.
        swatch: (16, 16, 3) float32, RGB, as a share of white.
        mask_share: of the pixels, what the ground truth marks; None where there is none.
        mask_error: why the ground truth can't be used, one sentence; "" where it can.
    """

    sample: Sample
    size: tuple[int, int]
    bits: int
    is_grey: bool
    lowest: int
    highest: int
    mean: float
    white: float
    black: float
    digest: bytes
    thumbnail: np.ndarray
    swatch: np.ndarray
    mask_share: float | None = None
    mask_error: str = ""


def survey(
    samples: Sequence[Sample], white_level: int, on_image: Callable[[], None] = lambda: None
) -> tuple[list[Facts], dict[Sample, str]]:
    """Reads images and masks.

    Returns:
        The facts of those that can be read, in order, and why each of the others can't.
    """

    def attempt(sample: Sample) -> Facts | str:
        try:
            return _look(sample, white_level)
        except DataError as error:
            return str(error)

    facts, unreadable = [], {}
    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    for sample, answer in zip(samples, ahead(attempt, samples, threads), strict=True):
        if isinstance(answer, Facts):
            facts.append(answer)
        else:
            unreadable[sample] = answer
        on_image()
    return facts, unreadable


def _look(sample: Sample, white_level: int) -> Facts:
    pixels = read_pixels(sample.path)
    white = 255 if pixels.dtype == np.uint8 else white_level
    # Rounded once, before the mean over many pixels: dark images keep their shades.
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / white
    brightest = pixels.max(axis=-1)
    swatch = cv2.resize(pixels, (SWATCH, SWATCH), interpolation=cv2.INTER_AREA)
    mask_share, mask_error = _mask(sample, grey.shape)
    return Facts(
        sample=sample,
        size=grey.shape,
        bits=8 * pixels.dtype.itemsize,
        is_grey=all(np.array_equal(pixels[..., 0], pixels[..., other]) for other in (1, 2)),
        lowest=int(pixels.min()),
        highest=int(pixels.max()),
        mean=float(np.mean(cv2.mean(pixels)[:3]) / white),
        white=float(np.mean(brightest >= white)),
        black=float(np.mean(brightest == 0)),
        digest=hashlib.blake2b(
            repr((pixels.shape, pixels.dtype)).encode() + pixels.tobytes()
        ).digest(),
        thumbnail=cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA),
        swatch=swatch.astype(np.float32) / white,
        mask_share=mask_share,
        mask_error=mask_error,
    )


def _mask(sample: Sample, size: tuple[int, int]) -> tuple[float | None, str]:
    if sample.mask_path is None:
        return None, ""
    try:
        mask = read_sample_mask(sample, size)
    except DataError as error:
        return None, str(error)
    return (None if mask is None else float(mask.mean())), ""
