"""Decoded pictures, kept in memory, or in a temporary file where they would not fit."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import IO, Literal

import cv2
import numpy as np

from ssae_tf.data.images import read_pixels, to_unit
from ssae_tf.data.mvtec import Sample
from ssae_tf.errors import DataError

# Of the memory that is free at the start; the rest is for the network.
_MEMORY_SHARE = 0.25


class PictureCache:
    """Pictures decoded once.

    8-bit pictures are kept as uint8, deeper ones as float32 in [0, 1].

    Attributes:
        samples: those that could be read, in the order given.
        pictures: one (H, W, 3) array for each.
        location: "memory" or "disk".
        skipped: sentences about the files left out.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        white_level: int = 65535,
        location: Literal["auto", "memory", "disk"] = "auto",
        skip_unreadable: bool = False,
        smallest_side: int = 1,
        on_picture: Callable[[], None] = lambda: None,
    ) -> None:
        """Decodes the pictures.

        Args:
            samples: what to read.
            white_level: the value of a 16-bit file that becomes 1.0.
            location: "auto" takes memory unless the pictures need more than a quarter of what is
                free, judged by the first picture.
            skip_unreadable: leave out files that can't be used instead of raising.
            smallest_side: pixels that height and width must have.
            on_picture: called after each picture, for progress.

        Raises:
            DataError: a file can't be decoded or is too small, and is not to be skipped; or none
                is left.
        """
        self.samples: list[Sample] = []
        self.pictures: list[np.ndarray] = []
        self.skipped: list[str] = []
        self.location = "memory" if location == "auto" else location
        self._file: IO[bytes] | None = None
        for sample in samples:
            try:
                picture = _decode(sample, white_level, smallest_side)
            except DataError as error:
                if not skip_unreadable:
                    raise
                self.skipped.append(str(error))
                continue
            if location == "auto" and not self.pictures:
                expected = picture.nbytes * len(samples)
                self.location = "memory" if expected < _MEMORY_SHARE * _free_memory() else "disk"
            self.samples.append(sample)
            self.pictures.append(self._keep(picture))
            on_picture()
        if not self.samples:
            raise DataError(f"None of {len(samples)} pictures can be read: {self.skipped[0]}")

    def resized(self, height: int, width: int) -> list[np.ndarray]:
        """All pictures at one size, kept where the others are.

        Args:
            height, width: pixels.

        Returns:
            (height, width, 3) arrays of the pictures' own dtypes.
        """
        return [self._keep(resize(picture, height, width)) for picture in self.pictures]

    def _keep(self, picture: np.ndarray) -> np.ndarray:
        if self.location == "memory":
            return picture
        if self._file is None:
            # Deleted by the system when the cache goes, however the process ends.
            self._file = tempfile.TemporaryFile(prefix="ssae_tf_")  # noqa: SIM115
        offset = self._file.seek(0, os.SEEK_END)
        self._file.write(np.ascontiguousarray(picture).tobytes())
        self._file.flush()
        return np.memmap(self._file, picture.dtype, mode="r", offset=offset, shape=picture.shape)


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a picture, averaging over areas where it shrinks, so that nothing aliases.

    Args:
        picture: (H, W, C) or (H, W), uint8 or float32.
        height, width: of the result, pixels; the picture's own size returns the picture itself.

    Returns:
        (height, width, C) or (height, width), of the same dtype.
    """
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = height * width < picture.shape[0] * picture.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(picture, (width, height), interpolation=interpolation)


def _decode(sample: Sample, white_level: int, smallest_side: int) -> np.ndarray:
    pixels = read_pixels(sample.path)
    height, width = pixels.shape[:2]
    if min(height, width) < smallest_side:
        raise DataError(
            f"{sample.path}: {height}×{width} pixels, the network needs at least "
            f"{smallest_side}×{smallest_side}."
        )
    return pixels if pixels.dtype == np.uint8 else to_unit(pixels, white_level)


def _free_memory() -> int:
    """Bytes that can be had without swapping; a guess of 2 GiB where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 2 << 30
