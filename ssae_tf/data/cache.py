"""Decoded images, kept in memory, or in a temporary file where they would not fit."""

from __future__ import annotations

import itertools
import mmap
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from ssae_tf.data.images import read_pixels, to_unit
from ssae_tf.data.mvtec import Sample
from ssae_tf.errors import DataError
from ssae_tf.runtime.machine import available_memory

if TYPE_CHECKING:
    from ssae_tf.scoring.ignored import Ignored

# Of the memory that is available at the start; the rest is for the network.
_MEMORY_SHARE = 0.25
# Bytes: at a multiple of these TensorFlow's operations expect a tensor to begin.
ALIGNMENT = 64

Images = np.ndarray | list[np.ndarray]


class ImageCache:
    """Images decoded once.

    8-bit images are kept as uint8, deeper ones as float32 in [0, 1].

    Attributes:
        samples: those that could be read, in the order given.
        images: one (H, W, 3) array for each, no larger than was asked for; all as one array,
            (N, H, W, 3), where size and dtype are the same.
        sizes: (height, width) of each file.
        location: "memory" or "disk".
        skipped: sentences about the files left out.
        ignored: what of the images never counts; None for nothing.
    """

    ignored: Ignored | None = None

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        white_level: int = 65535,
        location: Literal["auto", "memory", "disk"] = "auto",
        skip_unreadable: bool = False,
        smallest_side: int = 1,
        largest: tuple[int, int] | None = None,
        on_image: Callable[[], None] = lambda: None,
    ) -> None:
        """Decodes the images.

        Args:
            samples: what to read.
            white_level: the value of a 16-bit file that becomes 1.0.
            location: "auto" takes memory unless the images need more than a quarter of what is
                free, judged by the first image.
            skip_unreadable: leave out files that can't be used instead of raising.
            smallest_side: pixels that height and width must have.
            largest: (height, width) that images are shrunk to; None keeps their own. Training on
                whole images needs no more than its last stage, and phones make 36 MB an image.
            on_image: called after each file, for progress.

        Raises:
            DataError: a file can't be decoded or is too small, and is not to be skipped; or none
                is left; or the disk is full.
        """
        self.samples: list[Sample] = []
        self.sizes: list[tuple[int, int]] = []
        self.skipped: list[str] = []

        def decoded() -> Iterator[np.ndarray]:
            for sample in samples:
                try:
                    image = _decode(sample, white_level, smallest_side)
                except DataError as error:
                    if not skip_unreadable:
                        raise
                    self.skipped.append(str(error))
                else:
                    self.samples.append(sample)
                    height, width = image.shape[:2]
                    self.sizes.append((height, width))
                    if largest is not None:
                        image = resize(image, min(height, largest[0]), min(width, largest[1]))
                    yield image
                on_image()

        images = decoded()
        first = next(images, None)
        if first is None:
            raise DataError(f"None of {len(samples)} images can be read: {self.skipped[0]}")
        if location == "auto":
            fits = first.nbytes * len(samples) < _MEMORY_SHARE * available_memory()
            location = "memory" if fits else "disk"
        self.location: Literal["memory", "disk"] = location
        self.images = self._kept(itertools.chain([first], images), len(samples))

    @property
    def paths_by_size(self) -> dict[tuple[int, int], Path]:
        """(height, width) of the files, each with the path of one that has it."""
        paths = [sample.path for sample in self.samples]
        return dict(zip(self.sizes, paths, strict=True))

    def resized(self, height: int, width: int) -> np.ndarray:
        """All images at one size, kept where the others are.

        Args:
            height, width: pixels.

        Returns:
            (N, height, width, 3), uint8, or float32 in [0, 1] where some image is; the images
            themselves where they are of this size.
        """
        if isinstance(self.images, np.ndarray) and self.images.shape[1:3] == (height, width):
            return self.images
        squares = (resize(image, height, width) for image in self.images)
        if len({image.dtype for image in self.images}) > 1:
            squares = (to_unit(one) if one.dtype == np.uint8 else one for one in squares)
        resized = self._kept(squares, len(self.images))
        assert isinstance(resized, np.ndarray)
        return resized

    def _kept(self, images: Iterator[np.ndarray], count: int) -> Images:
        return _in_memory(images, count) if self.location == "memory" else _on_disk(images)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes an image, averaging over areas where it shrinks, so that nothing aliases.

    Args:
        image: (H, W, C) or (H, W), uint8 or float32; C > 1.
        height, width: of the result, pixels; the image's own size returns the image itself.

    Returns:
        (height, width, C) or (height, width), of the same dtype.
    """
    # One after the other: OpenCV averages over areas only where no side grows.
    shrunk = (min(height, image.shape[0]), min(width, image.shape[1]))
    for (rows, columns), method in ((shrunk, cv2.INTER_AREA), ((height, width), cv2.INTER_LINEAR)):
        if image.shape[:2] != (rows, columns):
            image = cv2.resize(image, (columns, rows), interpolation=method)
    return image


def _in_memory(images: Iterator[np.ndarray], count: int) -> Images:
    """Keeps images, at least one and at most `count`; not twice, as stacking a list would."""
    first = next(images)
    size = count * first.nbytes
    room = np.empty(size + ALIGNMENT, np.uint8)
    begin = -room.ctypes.data % ALIGNMENT
    array = room[begin : begin + size].view(first.dtype).reshape(count, *first.shape)
    kept = 0
    for image in itertools.chain([first], images):
        if (image.shape, image.dtype) != (first.shape, first.dtype):
            return [*array[:kept], image, *images]
        array[kept] = image
        kept += 1
    return array[:kept]


def _on_disk(images: Iterator[np.ndarray]) -> Images:
    """Moves images, at least one, to a temporary file that is mapped into memory.

    The file has no name, and the system deletes it with the last image, however the process ends.

    Raises:
        DataError: the folder for temporary files can't hold them.
    """
    places: list[tuple[tuple[int, ...], np.dtype, int]] = []
    try:
        with tempfile.TemporaryFile(prefix="ssae_tf_") as file:
            for image in images:
                offset = file.tell()
                if places and (image.shape, image.dtype) != places[-1][:2]:
                    # Aligned, as all arrays in memory are.
                    offset = file.seek(-(-offset // ALIGNMENT) * ALIGNMENT)
                file.write(np.ascontiguousarray(image).data)
                places.append((image.shape, image.dtype, offset))
            file.flush()
            # One mapping for all: each holds a file open, of which a process may have about 1000.
            content = mmap.mmap(file.fileno(), 0)
    except OSError as error:
        raise DataError(
            f"The decoded images can't be kept in {tempfile.gettempdir()} ({error.strerror}); "
            "the environment variable TMPDIR may name another folder."
        ) from None
    if len({place[:2] for place in places}) == 1:
        shape, dtype, _ = places[0]
        return np.ndarray((len(places), *shape), dtype, content)
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
