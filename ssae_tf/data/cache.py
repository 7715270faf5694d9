"""Decoded pictures, kept in memory, or in a temporary file where they would not fit."""

from __future__ import annotations

import itertools
import mmap
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import cv2
import numpy as np

from ssae_tf.data.images import read_pixels, to_unit
from ssae_tf.data.mvtec import Sample
from ssae_tf.errors import DataError
from ssae_tf.runtime.machine import available_memory

# Of the memory that is available at the start; the rest is for the network.
_MEMORY_SHARE = 0.25
# Bytes.
_ALIGNMENT = 64


class PictureCache:
    """Images decoded once.

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
            on_picture: called after each file, for progress.

        Raises:
            DataError: a file can't be decoded or is too small, and is not to be skipped; or none
                is left; or the disk is full.
        """
        self.samples: list[Sample] = []
        self.skipped: list[str] = []

        def decoded() -> Iterator[np.ndarray]:
            for sample in samples:
                try:
                    picture = _decode(sample, white_level, smallest_side)
                except DataError as error:
                    if not skip_unreadable:
                        raise
                    self.skipped.append(str(error))
                else:
                    self.samples.append(sample)
                    yield picture
                on_picture()

        pictures = decoded()
        first = next(pictures, None)
        if first is None:
            raise DataError(f"None of {len(samples)} pictures can be read: {self.skipped[0]}")
        if location == "auto":
            fits = first.nbytes * len(samples) < _MEMORY_SHARE * available_memory()
            location = "memory" if fits else "disk"
        self.location: Literal["memory", "disk"] = location
        self.pictures = self._kept(itertools.chain([first], pictures))

    def resized(self, height: int, width: int) -> list[np.ndarray]:
        """All pictures at one size, kept where the others are.

        Args:
            height, width: pixels.

        Returns:
            (height, width, 3) arrays of the pictures' own dtypes.
        """
        return self._kept(resize(picture, height, width) for picture in self.pictures)

    def _kept(self, pictures: Iterable[np.ndarray]) -> list[np.ndarray]:
        return list(pictures) if self.location == "memory" else _on_disk(pictures)


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a picture, averaging over areas where it shrinks, so that nothing aliases.

    Args:
        picture: (H, W, C) or (H, W), uint8 or float32; C > 1.
        height, width: of the result, pixels; the picture's own size returns the picture itself.

    Returns:
        (height, width, C) or (height, width), of the same dtype.
    """
    # One after the other: OpenCV averages over areas only where no side grows.
    shrunk = (min(height, picture.shape[0]), min(width, picture.shape[1]))
    for (rows, columns), method in ((shrunk, cv2.INTER_AREA), ((height, width), cv2.INTER_LINEAR)):
        if picture.shape[:2] != (rows, columns):
            picture = cv2.resize(picture, (columns, rows), interpolation=method)
    return picture


def _on_disk(pictures: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Moves pictures, at least one, to a temporary file that is mapped into memory, read-only.

    The file has no name, and the system deletes it with the last picture, however the process ends.

    Raises:
        DataError: the folder for temporary files can't hold them.
    """
    places = []
    try:
        with tempfile.TemporaryFile(prefix="ssae_tf_") as file:
            for picture in pictures:
                # Aligned, as all arrays in memory are.
                offset = file.seek(-(-file.tell() // _ALIGNMENT) * _ALIGNMENT)
                file.write(np.ascontiguousarray(picture).data)
                places.append((picture.shape, picture.dtype, offset))
            file.flush()
            # One mapping for all: each holds a file open, of which a process may have about 1000.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(
            f"The decoded pictures can't be kept in {tempfile.gettempdir()} ({error.strerror}); "
            "the environment variable TMPDIR may name another folder."
        ) from None
    return [np.ndarray(shape, dtype, content, offset) for shape, dtype, offset in places]


def _decode(sample: Sample, white_level: int, smallest_side: int) -> np.ndarray:
    pixels = read_pixels(sample.path)
    height, width = pixels.shape[:2]
    if min(height, width) < smallest_side:
        raise DataError(
            f"{sample.path}: {height}×{width} pixels, the network needs at least "
            f"{smallest_side}×{smallest_side}."
        )
    return pixels if pixels.dtype == np.uint8 else to_unit(pixels, white_level)
