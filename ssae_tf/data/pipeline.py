"""The tf.data pipeline: images in a random order, augmented, batched.

Everything random follows from (seed, stage, step) alone, so that training can be taken up at any
step. It is drawn beforehand, as a table of integers; the pixels are moved by TensorFlow operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import tensorflow as tf

from ssae_tf.config import DataConfig
from ssae_tf.data.cache import ALIGNMENT


class Sampler:
    """Batches of augmented square images."""

    def __init__(
        self,
        images: np.ndarray,
        batch_size: int,
        data: DataConfig,
        seed: Sequence[int],
        which: Sequence[int] | None = None,
    ) -> None:
        """Keeps what batches are made from.

        Args:
            images: (N, size, size, C) uint8, or float32 in [0, 1].
            which: where several samples have one image, the index of each sample's; None for one
                sample an image.
        """
        self.images = images
        self.batch_size = batch_size
        self.data = data
        self.seed = tuple(seed)
        self._which = np.arange(len(images)) if which is None else np.asarray(which)
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def batches(self, first: int, last: int) -> tf.data.Dataset:
        """Batches of the steps first … last − 1, made ahead of time on other threads.

        Returns:
            A data set of (step, X): int64 scalar, and (batch_size, size, size, C) float32 in
            [0, 1]. The images stay where they are, in memory or in a file.
        """
        images = _variable(self.images)

        def load(slot: tf.Tensor) -> tf.Tensor:
            return _augmented(images, slot)

        slots = tf.data.Dataset.from_tensor_slices(self.draws(first, last).reshape(-1, 4))
        x = slots.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        x = x.batch(self.batch_size, drop_remainder=True)
        steps = tf.data.Dataset.range(first, last)
        return tf.data.Dataset.zip((steps, x)).prefetch(tf.data.AUTOTUNE)

    def draws(self, first: int, last: int) -> np.ndarray:
        """Which image each slot of some steps takes, and how it is turned.

        Every image comes once before any comes again, in an order that changes each time.

        Returns:
            (last − first, batch_size, 4) int32: the index of an image; then, 0 or 1 and in this
            order, whether rows and columns are exchanged, rows reversed, columns reversed.
        """
        slots = range(first * self.batch_size, last * self.batch_size)
        places = (divmod(slot, len(self._which)) for slot in slots)
        chosen = [self._which[self._order(epoch)[place]] for epoch, place in places]
        symmetries = [self._draw_symmetries(step) for step in range(first, last)]
        table = np.empty((last - first, self.batch_size, 4), np.int32)
        table[..., 0] = np.reshape(chosen, table.shape[:2])
        table[..., 1:] = np.reshape(symmetries, (*table.shape[:2], 3))
        return table

    def _draw_order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([*self.seed, 0, epoch]).permutation(len(self._which))

    def _draw_symmetries(self, step: int) -> np.ndarray:
        """The last three columns of `draws`, of one step."""
        rng = np.random.default_rng([*self.seed, 1, step])
        # Always drawn, so that switching one augmentation off leaves the others as they were; the
        # first two decide nothing, and keep a seed's batches what they are in runs of before.
        drawn = rng.integers((2, 2, 4, 2, 2), size=(self.batch_size, 5))
        _, _, turns, left_right, top_bottom = drawn.T
        turns = turns * self.data.rotate
        # Counter-clockwise, before the mirrors.
        rows = np.isin(turns, (1, 2)) ^ (top_bottom * self.data.flip_vertical)
        columns = np.isin(turns, (2, 3)) ^ (left_right * self.data.flip_horizontal)
        return np.stack([turns % 2, rows, columns], axis=-1)


def _augmented(images: tf.Variable, slot: tf.Tensor) -> tf.Tensor:
    """The image of a slot, a row of `Sampler.draws`, as (size, size, C) float32 in [0, 1]."""
    index, exchanged, *reverse = tf.unstack(slot)
    image = tf.transpose(images[index], [exchanged, 1 - exchanged, 2])
    # Reversing by slices, `image[::-1]`, takes 40 times as long.
    image = tf.raw_ops.Reverse(tensor=image, dims=tf.cast([*reverse, 0], tf.bool))
    image = tf.ensure_shape(image, images.shape[1:])
    return tf.cast(image, tf.float32) / 255.0 if image.dtype == tf.uint8 else image


def _variable(images: np.ndarray) -> tf.Variable:
    """Images in a variable, of which tf.data hands on no copy, as it does of a tensor.

    They stay where they are if their place suits TensorFlow, and are copied otherwise.
    """
    with tf.device("CPU"):
        if images.ctypes.data % ALIGNMENT or not images.flags.c_contiguous:
            return tf.Variable(images, trainable=False)
        tensor = tf.experimental.dlpack.from_dlpack(images.__dlpack__())
        return tf.Variable(tensor, trainable=False)
