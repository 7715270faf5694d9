"""Padding by reflection and resizing, the same eagerly, in a tf.data graph and compiled by XLA."""

from __future__ import annotations

import tensorflow as tf

# Share of a pixel that `resize` takes for none.
_UNTOUCHED = 1e-3


def reflect_indices(
    start: tf.Tensor | int, stop: tf.Tensor | int, size: tf.Tensor | int
) -> tf.Tensor:
    """Indices start … stop − 1 folded back into 0 … size − 1.

    Half-sample symmetric (d c b a | a b c d | d c b a), any distance: SciPy's mode "reflect".

    Returns:
        (stop − start,) int32.
    """
    index = tf.range(start, stop)
    # −1 − i mirrors to the same place as i. Nothing negative is divided: in ONNX, integer division
    # rounds towards zero.
    index = tf.math.floormod(tf.maximum(index, -1 - index), 2 * size)
    return tf.minimum(index, 2 * size - 1 - index)


def pad_reflect(x: tf.Tensor, multiple: int) -> tf.Tensor:
    """Pads by reflection, at bottom and right up to the next multiple.

    Args:
        x: (B, H, W, C) float32.
        multiple: of the result's sides.

    Returns:
        (B, H', W', C).
    """
    for axis in (1, 2):
        size = _side(x, axis)
        padded = next_multiple(size, multiple)
        if isinstance(size, int) and padded == size:
            continue
        x = tf.gather(x, reflect_indices(0, padded, size), axis=axis)
    return x


def upsample(x: tf.Tensor, scale: int) -> tf.Tensor:
    """Bilinear enlargement by a whole number, pixel centres in place.

    Args:
        x: (B, H, W, C) float32.
        scale: 1 returns `x`.

    Returns:
        (B, scale · H, scale · W, C) float32, within the range of `x`.
    """
    if scale == 1:
        return x
    return tf.image.resize(x, [scale * _side(x, axis) for axis in (1, 2)])


def resize(x: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor:
    """Resizes images as `ssae_tf.data.cache.resize` does, to the rounding of float32.

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
    rows = _resizing_matrix(shape[1], height)
    x = tf.linalg.matmul(rows, tf.reshape(x, tf.stack([batch, shape[1], shape[2] * channels])))
    x = tf.reshape(x, tf.stack([batch * height, shape[2], channels]))
    x = tf.linalg.matmul(_resizing_matrix(shape[2], width), x)
    return tf.reshape(x, tf.stack([batch, height, width, channels]))


def _resizing_matrix(size: tf.Tensor, target: tf.Tensor | int) -> tf.Tensor:
    """(target, size): row i holds the weights of all pixels in the resized pixel i."""
    index, source = tf.range(target)[:, None], tf.range(size)[None, :]
    # The share of each pixel within i … i + 1 of the resized image, in units of 1 / target.
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


def nearest(x: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor:
    """Resizes by nearest neighbour: each pixel is the one that its centre falls into.

    Args:
        x: (B, H, W, C), any dtype.
        height, width: of the result, pixels; each times that of `x` below 2³⁰.

    Returns:
        (B, height, width, C).
    """
    for axis, target in ((1, height), (2, width)):
        index = (2 * tf.range(target) + 1) * _side(x, axis) // (2 * target)
        x = tf.gather(x, index, axis=axis)
    return x


def next_multiple(size: int | tf.Tensor, multiple: int) -> int | tf.Tensor:
    """The size or the multiple after it; nothing negative is divided, as in `reflect_indices`."""
    return (size + multiple - 1) // multiple * multiple


def _side(x: tf.Tensor, axis: int) -> int | tf.Tensor:
    """A side's length, as a number where it is known."""
    return tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]
