"""Random draws that are the same eagerly, in a tf.data graph and compiled by XLA."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def split_seed(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Independent seeds from one.

    Args:
        seed: (2,) int32.
        count: how many.

    Returns:
        `count` tensors (2,) int32.
    """
    bits = tf.random.stateless_uniform(
        (count, 2), seed, minval=None, maxval=None, dtype=tf.int32, alg="philox"
    )
    return tf.unstack(bits, num=count)


def uniform(
    shape: Sequence[int | tf.Tensor] | tf.Tensor,
    seed: tf.Tensor,
    low: float = 0.0,
    high: float = 1.0,
) -> tf.Tensor:
    """Uniform floats on [low, high) to the rounding of float32, bit for bit alike everywhere.

    Made from integer bits, because TensorFlow's float draws differ between eager and XLA.

    Args:
        shape: of the result.
        seed: (2,) int32.
        low, high: the interval.
    """
    bits = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox"
    )
    unit = tf.bitwise.right_shift(tf.bitcast(bits, tf.uint32), tf.constant(8, tf.uint32))
    if low == 0.0:
        # A product alone rounds once everywhere.
        return float(np.float32(high)) * 2.0**-24 * tf.cast(unit, tf.float32)
    # XLA fuses the product and the sum, rounding once where eager rounds twice. In float64 the
    # product of two numbers of 24 bits is exact, so that both round alike.
    step = tf.constant(float(np.float32(high - low)) * 2.0**-24, tf.float64)
    return tf.cast(low + step * tf.cast(unit, tf.float64), tf.float32)


def log_uniform(
    shape: Sequence[int | tf.Tensor] | tf.Tensor, seed: tf.Tensor, low: float, high: float
) -> tf.Tensor:
    """Floats whose logarithm is uniform on [log low, log high), float32; `low` > 0."""
    return tf.exp(uniform(shape, seed, math.log(low), math.log(high)))
