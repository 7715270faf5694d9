"""The tf.data pipeline: images in a random order, augmented, batched.

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


class Sampler:
    """Batches of augmented square images from a list of images of one size."""

    def __init__(
        self,
        images: Sequence[np.ndarray],
        size: int,
        batch_size: int,
        data: DataConfig,
        seed: Sequence[int],
    ) -> None:
        """Keeps what batches are made from.

        Args:
            images: (size, size, C) uint8, or float32 in [0, 1].
            size: their side, pixels.
            batch_size: images a batch.
            data: the augmentations.
            seed: any number of integers.
        """
        self.images = list(images)
        self.size = size
        self.batch_size = batch_size
        self.data = data
        self.seed = tuple(seed)
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
            image = self._augment(self.images[self._order(epoch)[place]], rng)
            result[slot] = image if image.dtype == np.float32 else to_unit(image)
        return result

    def _draw_order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([*self.seed, 0, epoch]).permutation(len(self.images))

    def _augment(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        # Always drawn, so that switching one augmentation off leaves the others as they were; the
        # first two decide nothing, and keep a seed's batches what they are in runs of before.
        _, _, turns, left_right, top_bottom = rng.integers((2, 2, 4, 2, 2))
        if self.data.rotate:
            image = np.rot90(image, turns)
        if self.data.flip_horizontal and left_right:
            image = image[:, ::-1]
        if self.data.flip_vertical and top_bottom:
            image = image[::-1]
        return image


def training_batches(sampler: Sampler, first: int, last: int) -> tf.data.Dataset:
    """Batches of the steps first … last − 1, made ahead of time on other threads.

    Returns:
        A data set of (step, X): int64 scalar, and (B, size, size, C) float32 in [0, 1].
    """

    def load(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.numpy_function(lambda s: sampler.batch(int(s)), [step], tf.float32, stateful=False)
        return step, tf.ensure_shape(x, sampler.shape)

    batches = tf.data.Dataset.range(first, last).map(load, num_parallel_calls=2)
    return batches.prefetch(tf.data.AUTOTUNE)
