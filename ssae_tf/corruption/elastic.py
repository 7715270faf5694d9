"""Elastic deformation: a smoothed random displacement field and the bilinear warp (section 3.2)."""

from __future__ import annotations

import tensorflow as tf

from ssae_tf.ops.gaussian import gaussian_filter_each
from ssae_tf.ops.random import uniform


def displacement(
    shape: tuple[tf.Tensor | int, tf.Tensor | int, tf.Tensor | int],
    sigma: tf.Tensor,
    alpha: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Random displacement fields, one for every image.

    Uniform noise on [−1, 1), smoothed by a Gaussian of width `sigma` and multiplied by `alpha`.
    Away from the borders a component's root mean square is alpha / (2 sigma sqrt(3 pi)) pixels.

    Args:
        shape: (B, H, W).
        sigma: (B,) float32, pixels.
        alpha: (B,) float32, pixels.
        seed: (2,) int32.

    Returns:
        (B, H, W, 2) float32: displacement along y and x, pixels.
    """
    noise = 2.0 * uniform((*shape, 2), seed) - 1.0
    return gaussian_filter_each(noise, sigma) * alpha[:, None, None, None]


def warp(x: tf.Tensor, field: tf.Tensor) -> tf.Tensor:
    """Samples each image at displaced places, bilinearly.

    The result at p is x(p + field(p)); places outside are moved to the nearest edge, as in
    `scipy.ndimage.map_coordinates(order=1, mode="nearest")`. A zero field returns `x` bit for bit.

    Args:
        x: (B, H, W, C) float32.
        field: (B, H, W, 2) float32, displacement along y and x, pixels.

    Returns:
        (B, H, W, C) float32.
    """
    shape = tf.shape(x)
    batch, height, width, channels = shape[0], shape[1], shape[2], x.shape[3]
    grid_y = tf.cast(tf.range(height), tf.float32)[None, :, None]
    grid_x = tf.cast(tf.range(width), tf.float32)[None, None, :]
    y = tf.clip_by_value(grid_y + field[..., 0], 0.0, tf.cast(height - 1, tf.float32))
    x_place = tf.clip_by_value(grid_x + field[..., 1], 0.0, tf.cast(width - 1, tf.float32))
    top, left = tf.floor(y), tf.floor(x_place)
    weight_y, weight_x = (y - top)[..., None], (x_place - left)[..., None]
    top, left = tf.cast(top, tf.int32), tf.cast(left, tf.int32)
    bottom, right = tf.minimum(top + 1, height - 1), tf.minimum(left + 1, width - 1)

    # One flat gather over the whole batch: gather_nd with batch_dims is several times slower.
    flat = tf.reshape(x, (-1, channels))
    offset = (tf.range(batch) * height * width)[:, None, None]

    def at(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        return tf.gather(flat, offset + row * width + column)

    def between(first: tf.Tensor, last: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        return first + weight * (last - first)

    upper = between(at(top, left), at(top, right), weight_x)
    lower = between(at(bottom, left), at(bottom, right), weight_x)
    return between(upper, lower, weight_y)
