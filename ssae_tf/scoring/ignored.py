"""Regions that never count: a mask that is the same for all images, and a border round each."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ssae_tf.config import ScoringConfig
from ssae_tf.errors import DataError, InputError
from ssae_tf.ops.resampling import nearest


@dataclasses.dataclass(frozen=True, eq=False)
class Ignored:
    """What of every image is ignored: in corruption, in the anomaly map and in pixel metrics.

    Attributes:
        mask: (h, w) bool, true where images are ignored; stretched over an image of any size by
            nearest neighbour. None for no mask.
        border: pixels of the image that are ignored on every side.
    """

    mask: np.ndarray | None = None
    border: int = 0

    def counted(self, height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor:
        """What of an image counts, the same eagerly and in every exported graph.

        Args:
            height, width: of the image, pixels.

        Returns:
            (1, height, width, 1) float32: 1 where a pixel counts, 0 where it is ignored.
        """
        # Indexing by new axes is what TFLite can't.
        rows = tf.reshape(self._inside(height), (1, -1, 1, 1))
        counts = rows & tf.reshape(self._inside(width), (1, 1, -1, 1))
        if self.mask is not None:
            # A constant of the caller's graph, as in `gaussian_filter`.
            mask = nearest(tf.constant(self.mask[None, ..., None]), height, width)
            counts &= tf.logical_not(mask)
        return tf.cast(counts, tf.float32)

    def pixels(self, height: int, width: int) -> np.ndarray:
        """Which pixels of an image count, (height, width) bool.

        Raises:
            DataError: none does.
        """
        return self._known(height, width)

    def at_size(self, height: int, width: int, rows: int, columns: int) -> tf.Tensor:
        """What counts of an image that is resized, as `counted`.

        Args:
            height, width: of the image, pixels.
            rows, columns: what it is resized to.

        Raises:
            DataError: as `pixels`.
        """
        counted = tf.constant(self.pixels(height, width)[None, ..., None], tf.float32)
        return counted if (height, width) == (rows, columns) else nearest(counted, rows, columns)

    @functools.cached_property
    def _known(self) -> Callable[[int, int], np.ndarray]:
        # Most images have the size of the one before.
        return functools.lru_cache(maxsize=4)(self._pixels)

    def _pixels(self, height: int, width: int) -> np.ndarray:
        counted = np.asarray(self.counted(height, width)[0, ..., 0] > 0.0)
        if not counted.any():
            raise DataError(
                f"All of an image of {width}×{height} pixels is ignored (border {self.border}): "
                "expected a larger one."
            )
        return counted

    def _inside(self, side: tf.Tensor | int) -> tf.Tensor:
        index = tf.range(side)
        return (index >= self.border) & (index < side - self.border)


def ignored_of(scoring: ScoringConfig, mask: np.ndarray | None) -> Ignored | None:
    """What some settings ignore; None for nothing.

    Args:
        scoring: the settings.
        mask: (h, w) bool, of the file that they name.

    Raises:
        InputError: a mask without such a file, or the reverse.
    """
    if (scoring.ignore is None) != (mask is None):
        raise InputError(
            "Expected a mask exactly where `scoring.ignore` names its file. Received: "
            f"{'none' if mask is None else 'one'} and scoring.ignore={scoring.ignore!r}."
        )
    return Ignored(mask, scoring.border) if scoring.ignores else None


def counted_in(
    sizes: Sequence[tuple[int, int]], ignored: Ignored, size: tuple[int, int]
) -> tuple[np.ndarray, list[int]]:
    """What counts of each of some images, as images, to be turned with them.

    Args:
        sizes: (height, width) of each, pixels.
        ignored: what does not.
        size: (height, width) that the images are resized to.

    Returns:
        (K, H, W, 1) uint8, 255 where a pixel counts and 0 elsewhere, one for each size that images
        have; and for each image the index of its own.
    """

    def drawn(height: int, width: int) -> np.ndarray:
        counted = nearest(ignored.counted(height, width), *size)
        return np.asarray(255.0 * counted[0]).astype(np.uint8)

    places = {one: place for place, one in enumerate(dict.fromkeys(sizes))}
    return np.stack([drawn(*one) for one in places]), [places[one] for one in sizes]
