"""Random shape masks: blobs, polygons and thin strokes inside patches, or noise (section 3.2)."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from ssae_tf.ops.gaussian import gaussian_filter_each
from ssae_tf.ops.random import log_uniform, split_seed, uniform

_HARMONICS = 5
_EDGES = 6
_SEGMENTS = 8
# Smaller patches would leave less than a pixel for some shapes.
_MIN_SIDE = 4.0
_MIN_THICKNESS = 1.5
# Of regions of noise: widths of the Gaussians that smooth it, pixels; sides of the window, as
# shares of the image's; the level above which a pixel belongs to them, in standard deviations.
_NOISE_SIGMA = (1.5, 24.0)
_NOISE_WINDOW = (0.08, 0.6)
_NOISE_LEVEL = (1.2, 2.3)


class Patches(NamedTuple):
    """Places and sizes of patches, float32, pixels.

    Attributes:
        centre_y, centre_x: whole pixels, (N,).
        half_height, half_width: half of the sides, (N,).
        radius: int32 scalar: no patch goes farther than this from its centre.
    """

    centre_y: tf.Tensor
    centre_x: tf.Tensor
    half_height: tf.Tensor
    half_width: tf.Tensor
    radius: tf.Tensor


def random_patches(
    count: tf.Tensor,
    height: tf.Tensor,
    width: tf.Tensor,
    size: tuple[float, float],
    seed: tf.Tensor,
) -> Patches:
    """Draws patches that lie inside the image.

    Args:
        count: N.
        height, width: of the image, pixels.
        size: smallest and largest side as a share of the image's shorter side; the two sides of
            a patch are drawn independently, uniform in their logarithm.
        seed: (2,) int32.
    """
    seeds = split_seed(seed, 2)
    height_f, width_f = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    side = tf.minimum(height_f, width_f)

    def half_of(share: tf.Tensor | float) -> tf.Tensor:
        sides = tf.maximum(share * side, _MIN_SIDE)
        return tf.minimum(sides, tf.maximum(side - 1.0, 1.0)) / 2.0

    half = half_of(log_uniform((2, count), seeds[0], *size))
    radius = tf.cast(tf.math.ceil(half_of(size[1])), tf.int32)
    place = uniform((2, count), seeds[1])
    extent = tf.stack([height_f - 1.0, width_f - 1.0])[:, None]
    centre = tf.round(half + place * (extent - 2.0 * half))
    return Patches(centre[0], centre[1], half[0], half[1], radius)


def random_masks(
    patches: Patches,
    height: tf.Tensor,
    width: tf.Tensor,
    weights: tuple[float, float, float],
    seed: tf.Tensor,
) -> tf.Tensor:
    """One random shape inside each patch.

    Every mask holds at least its patch's centre pixel.

    Args:
        patches: N patches.
        height, width: of the image, pixels.
        weights: relative frequency of blobs, polygons and strokes.
        seed: (2,) int32.

    Returns:
        (N, height, width) bool.
    """
    seeds = split_seed(seed, 4)
    count = tf.shape(patches.centre_y)[0]
    # Drawn in windows about the centres, which are a fraction of most images.
    offsets = tf.cast(tf.range(-patches.radius, patches.radius + 1), tf.float32)
    y, x = offsets[None, :, None], offsets[None, None, :]
    v = y / patches.half_height[:, None, None]
    u = x / patches.half_width[:, None, None]

    blob, polygon, _ = weights
    draw = uniform((count, 1, 1), seeds[0], 0.0, sum(weights))
    side = tf.size(offsets)
    mask = tf.zeros((count, side, side), tf.bool)
    if weights[0]:
        mask = tf.where(draw < blob, _blobs(u, v, count, seeds[1]), mask)
    if weights[1]:
        is_polygon = (draw >= blob) & (draw < blob + polygon)
        mask = tf.where(is_polygon, _polygons(u, v, count, seeds[2]), mask)
    if weights[2]:
        strokes = _strokes(y, x, patches, count, seeds[3])
        mask = tf.where(draw >= blob + polygon, strokes, mask)
    # Put in place by products with matrices of ones and zeros, which take less time than gathers.
    rows = _places(patches.centre_y, offsets, height)
    columns = _places(patches.centre_x, offsets, width)
    placed = tf.linalg.matmul(rows, tf.cast(mask, tf.float32))
    return tf.linalg.matmul(placed, columns, transpose_b=True) > 0.5


def noise_masks(
    count: tf.Tensor, height: tf.Tensor, width: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Peaks of smooth noise inside a random window: ragged, fine to coarse, often in pieces.

    DRAEM (Zavrtanik et al., 2021) takes Perlin noise for the same. Unlike patches, a window may
    reach beyond the image's edge, so that edges and corners are covered as often as the middle.
    Every mask holds at least one pixel, and no more where the noise has no peak in the window: half
    of the masks at 128², a third at 256², which leave their images nearly whole.

    Args:
        count: N.
        height, width: of the image, pixels.
        seed: (2,) int32.

    Returns:
        (N, height, width) bool.
    """
    seeds = split_seed(seed, 6)
    noise = uniform((count, height, width, 1), seeds[0], -1.0, 1.0)
    sigma_y, sigma_x = (log_uniform((count,), s, *_NOISE_SIGMA) for s in seeds[1:3])
    smooth = gaussian_filter_each(noise, sigma_y, sigma_x)[..., 0]
    deviation = tf.sqrt(tf.reduce_mean(tf.square(smooth), axis=(1, 2), keepdims=True))
    level = deviation * uniform((count, 1, 1), seeds[3], *_NOISE_LEVEL)

    def inside(size: tf.Tensor, place: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(size, tf.float32)
        centre = tf.floor(place * pixels)[:, None]
        return tf.abs(tf.range(pixels)[None] - centre) <= (0.5 * share * pixels)[:, None]

    place, share = uniform((2, count), seeds[4]), log_uniform((2, count), seeds[5], *_NOISE_WINDOW)
    rows, columns = inside(height, place[0], share[0]), inside(width, place[1], share[1])
    window = rows[:, :, None] & columns[:, None, :]
    highest = tf.reduce_max(tf.where(window, smooth, smooth.dtype.min), axis=(1, 2), keepdims=True)
    return window & (smooth >= tf.minimum(level, highest))


def _places(centre: tf.Tensor, offsets: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """(N, size, offsets) float32, one where an image's pixel is that of the window."""
    pixels = tf.cast(tf.range(size), tf.float32)[None, :, None]
    return tf.cast(pixels == (centre[:, None] + offsets)[:, None, :], tf.float32)


def _blobs(u: tf.Tensor, v: tf.Tensor, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Star-shaped outlines with random harmonics 2 … 6, inside the unit disc."""
    seeds = split_seed(seed, 2)
    amplitude = uniform((count, _HARMONICS), seeds[0], 0.0, 0.7 / _HARMONICS)
    phase = uniform((count, _HARMONICS), seeds[1], 0.0, 2.0 * math.pi)
    a = (amplitude * tf.cos(phase))[..., None, None]
    b = (amplitude * tf.sin(phase))[..., None, None]
    radius = tf.sqrt(u * u + v * v)
    safe = tf.maximum(radius, 1e-6)
    cosine, sine = u / safe, v / safe
    # cos(k angle) and sin(k angle) by the addition theorem: no arc tangent per pixel.
    real, imaginary = cosine, sine
    outline = tf.ones_like(radius)
    for k in range(_HARMONICS):
        real, imaginary = real * cosine - imaginary * sine, real * sine + imaginary * cosine
        outline += a[:, k] * real - b[:, k] * imaginary
    largest = 1.0 + tf.reduce_sum(amplitude, axis=1)[:, None, None]
    return radius * largest <= outline


def _polygons(u: tf.Tensor, v: tf.Tensor, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Convex polygons: half planes with random normals and distances, cut to the unit disc."""
    seeds = split_seed(seed, 2)
    angle = uniform((count, _EDGES), seeds[0], 0.0, 2.0 * math.pi)
    distance = uniform((count, _EDGES), seeds[1], 0.2, 0.9)[..., None, None]
    a, b = tf.cos(angle)[..., None, None], tf.sin(angle)[..., None, None]
    inside = u * u + v * v <= 1.0
    for k in range(_EDGES):
        inside &= u * a[:, k] + v * b[:, k] <= distance[:, k]
    return inside


def _strokes(
    y: tf.Tensor, x: tf.Tensor, patches: Patches, count: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Thin curves: quadratic Bézier curves through the patch's centre, a few pixels thick."""
    seeds = split_seed(seed, 3)
    largest = tf.maximum(
        0.25 * tf.minimum(patches.half_height, patches.half_width), 2.0 * _MIN_THICKNESS
    )
    thickness = _MIN_THICKNESS * tf.pow(largest / _MIN_THICKNESS, uniform((count,), seeds[0]))
    angle = uniform((2, count), seeds[1], 0.0, 2.0 * math.pi)
    length = uniform((2, count), seeds[2], 0.5, 1.0)
    # So far from the patch's border that the stroke's thickness stays inside.
    end_y = length * tf.sin(angle) * tf.nn.relu(patches.half_height - thickness / 2.0)
    end_x = length * tf.cos(angle) * tf.nn.relu(patches.half_width - thickness / 2.0)

    # The middle control point −(P0 + P2) / 2 puts the curve's middle on the centre.
    t = tf.linspace(0.0, 1.0, _SEGMENTS + 1)[:, None]
    first, middle, last = (1.0 - t) ** 2, t * (1.0 - t), t**2
    points_y = (first - middle) * end_y[0] + (last - middle) * end_y[1]
    points_x = (first - middle) * end_x[0] + (last - middle) * end_x[1]
    steps_y, steps_x = points_y[1:] - points_y[:-1], points_x[1:] - points_x[:-1]
    scale = 1.0 / tf.maximum(steps_y**2 + steps_x**2, 1e-6)
    segments = tf.stack([points_y[:-1], points_x[:-1], steps_y, steps_x, scale], axis=1)

    nearest = None
    for segment in tf.unstack(segments[..., None, None]):
        y0, x0, dy, dx, per_length = tf.unstack(segment)
        along = (y - y0) * (dy * per_length) + (x - x0) * (dx * per_length)
        along = tf.clip_by_value(along, 0.0, 1.0)
        squared = tf.square(y - y0 - along * dy) + tf.square(x - x0 - along * dx)
        nearest = squared if nearest is None else tf.minimum(nearest, squared)
    return nearest <= tf.square(thickness / 2.0)[:, None, None]
