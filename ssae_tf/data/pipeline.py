"""The tf.data pipeline: images in a random order, resized or cropped, augmented, batched.

Everything random follows from (seed, stage, step) alone, so that training can be taken up at any
step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import tensorflow as tf

from ssae_tf.config import DataConfig
from ssae_tf.data.images import to_unit


class CropSampler:
    """Batches of augmented square images from a list of images.

    With `sampling="crop"` a square is cut at a random place of the image continued by reflection:
    by a margin all round, as inspection continues it, and further where it is smaller than the
    square. Without a margin hardly any square would show the image's edges, and none what the
    network sees beside them in inspection. With "resize" the images must have the square's size
    already.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        size: int,
        batch_size: int,
        data: DataConfig,
        seed: Sequence[int],
        margin: int = 0,
    ) -> None:
        """Keeps what batches are made from.

        Args:
            images: (H, W, C) uint8, or float32 in [0, 1].
            size: side of the squares, pixels.
            batch_size: images a batch.
            data: the sampling and the augmentations.
            seed: any number of integers.
            margin: pixels of reflected image that squares may reach into.
        """
        self.images = list(images)
        self.size = size
        self.batch_size = batch_size
        self.data = data
        self.seed = tuple(seed)
        self.margin = margin if data.sampling == "crop" else 0
        self._order = lru_cache(maxsize=2)(self._draw_order)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of a batch."""
        return self.batch_size, self.size, self.size, self.images[0].shape[-1]

    def batch(self, step: int) -> np.ndarray:
        """The batch of one step: (batch_size, size, size, C) float32 in [0, 1].

        Every image comes once before any comes again, in an order that changes each time.
        """
        rng = np.random.default_rng([*self.seed, 1, step])
        result = np.empty(self.shape, np.float32)
        for slot in range(self.batch_size):
            epoch, place = divmod(step * self.batch_size + slot, len(self.images))
            image = self.images[self._order(epoch)[place]]
            crop = self._augment(self._crop(image, rng), rng)
            result[slot] = crop if crop.dtype == np.float32 else to_unit(crop)
        return result

    def _draw_order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([*self.seed, 0, epoch]).permutation(len(self.images))

    def _crop(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows, columns = (self._interval(side, rng) for side in image.shape[:2])
        return image[rows[:, None], columns]

    def _interval(self, side: int, rng: np.random.Generator) -> np.ndarray:
        """Indices of `size` neighbouring rows or columns, folded back at the image's ends."""
        # Pushed back inside from anywhere that touches the image: the border is then seen at
        # least as often as the middle.
        least, most = -self.margin, side + self.margin - self.size
        first = max(least, min(most, int(rng.integers(1 - self.size, side))))
        index = np.arange(first, first + self.size) % (2 * side)
        return np.minimum(index, 2 * side - 1 - index)

    def _augment(self, crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        # Always drawn, so that switching one augmentation off leaves the others as they were.
        turns, left_right, top_bottom = (int(rng.integers(count)) for count in (4, 2, 2))
        if self.data.rotate:
            crop = np.rot90(crop, turns)
        if self.data.flip_horizontal and left_right:
            crop = crop[:, ::-1]
        if self.data.flip_vertical and top_bottom:
            crop = crop[::-1]
        return crop


def training_batches(sampler: CropSampler, first: int, last: int) -> tf.data.Dataset:
    """Batches of the steps first … last − 1, made ahead of time on other threads.

    Returns:
        A data set of (step, X): int64 scalar, and (B, size, size, C) float32 in [0, 1].
    """

    def load(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.numpy_function(lambda s: sampler.batch(int(s)), [step], tf.float32, stateful=False)
        return step, tf.ensure_shape(x, sampler.shape)

    batches = tf.data.Dataset.range(first, last).map(load, num_parallel_calls=2)
    return batches.prefetch(tf.data.AUTOTUNE)
