"""Resizing inside a graph, with the result of `ssae_tf.data.cache.resize`."""

from __future__ import annotations

import tensorflow as tf

# Share of a pixel.
_UNTOUCHED = 1e-3


def resize(x: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor:
    """Resizes pictures as the detector does, to the rounding of float32.

    Each axis is one matrix product: averages over areas where it shrinks, linear interpolation
    where it grows. No two runtimes agree on how to resize, but all can multiply.

    Args:
        x: (B, H, W, C) float32.
        height, width: of the result, pixels.

    Returns:
        (B, height, width, C) float32.
    """
    shape = tf.shape(x)
    batch, channels = shape[0], x.shape[3]
    rows = _weights(shape[1], height)
    x = tf.linalg.matmul(rows, tf.reshape(x, tf.stack([batch, shape[1], shape[2] * channels])))
    x = tf.reshape(x, tf.stack([batch * height, shape[2], channels]))
    x = tf.linalg.matmul(_weights(shape[2], width), x)
    return tf.reshape(x, tf.stack([batch, height, width, channels]))


def _weights(size: tf.Tensor, target: tf.Tensor | int) -> tf.Tensor:
    """(target, size): row i holds the weights of all pixels in the resized pixel i."""
    index, source = tf.range(target)[:, None], tf.range(size)[None, :]
    # The share of each pixel within i … i + 1 of the resized picture, in units of 1 / target.
    last = tf.minimum((index + 1) * size, (source + 1) * target)
    covered = tf.cast(last - tf.maximum(index * size, source * target), tf.float32)
    # OpenCV leaves out what is hardly touched.
    least = _UNTOUCHED * tf.cast(target, tf.float32)
    averaging = tf.where(covered > least, covered, 0.0) / tf.cast(size, tf.float32)
    scale = tf.cast(size, tf.float32) / tf.cast(target, tf.float32)
    centre = (tf.cast(index, tf.float32) + 0.5) * scale - 0.5
    centre = tf.clip_by_value(centre, 0.0, tf.cast(size - 1, tf.float32))
    linear = tf.maximum(1.0 - tf.abs(centre - tf.cast(source, tf.float32)), 0.0)
    return tf.where(scale > 1.0, averaging, linear)
