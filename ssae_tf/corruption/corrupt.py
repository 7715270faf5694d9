"""X -> (X̂, M): deforms, cuts out or swaps random patches of each image (section 3.2)."""

from __future__ import annotations

import math

import tensorflow as tf

from ssae_tf.config import CorruptionConfig
from ssae_tf.corruption.compose import compose
from ssae_tf.corruption.elastic import displacement, warp
from ssae_tf.corruption.shapes import noise_masks, random_masks, random_patches
from ssae_tf.ops.gaussian import gaussian_filter_each
from ssae_tf.ops.random import log_uniform, split_seed, uniform

# Widths of the Gaussians, pixels: of the surroundings that contrast is relative to, and of the
# noise that makes random texture.
_CONTRAST_SIGMA = (1.0, 8.0)
_TEXTURE_SIGMA = (0.5, 8.0)
# Largest root mean square of random texture, grey levels of [0, 1].
_TEXTURE_CONTRAST = 0.3
# Of a relief: widths of the Gaussian that rounds its slopes, pixels; the largest change, in grey
# levels of [0, 1]; and how often it is rough all over rather than one dent or bump.
_RELIEF_SIGMA = (0.7, 3.0)
_RELIEF_CHANGE = (0.04, 0.35)
_RELIEF_ROUGH = 0.4
# A height field that rises by less from pixel to pixel is even, but for rounding.
_EVEN = 1e-3


def corrupt(
    x: tf.Tensor, seed: tf.Tensor, config: CorruptionConfig, counted: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Corrupts random regions of every image.

    A pure function of its arguments: the same in tf.data, eagerly and inside a compiled step.

    Args:
        x: X, (B, H, W, C) float32 in [0, 1]; any of B, H, W may be unknown.
        seed: (2,) int32; the same seed and shape give the same regions.
        config: what is done how often.
        counted: (B, H, W, 1) float32, 0 where M may have no pixel, 1 elsewhere; None for 1.

    Returns:
        X̂ and M, both (B, H, W, C) float32. M is {0, 1}, equal in all channels, with at least one
        pixel in every image, or in the `config.share` of them that is corrupted, and not only where
        nothing counts; X̂ is X bit for bit where M is 0, and differs from X somewhere in every
        corrupted image.
    """
    seeds = split_seed(seed, 6)
    region, brightness = _regions(x, config, seeds[0])
    changed = _transform(x, config, seeds[1])
    changed = _appearance(x, changed, config, seeds[2]) + brightness
    if config.relief:
        embossed = uniform((tf.shape(x)[0], 1, 1, 1), seeds[4]) < config.relief
        changed = tf.where(embossed, x + _relief(region, seeds[5]), changed)
    if config.share < 1.0:
        region &= uniform((tf.shape(x)[0], 1, 1), seeds[3]) < config.share
    if counted is not None:
        region &= counted[..., 0] > 0.0
    return compose(x, changed, region)


def _regions(
    x: tf.Tensor, config: CorruptionConfig, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """M as (B, H, W) bool, and what is added to each pixel, (B, H, W, C) float32."""
    seeds = split_seed(seed, 7)
    batch, height, width, channels = tf.unstack(tf.shape(x), num=4)
    count = batch * config.patches
    patches = random_patches(count, height, width, config.size, seeds[0])
    shapes = random_masks(
        patches, height, width, (config.blob, config.polygon, config.stroke), seeds[1]
    )
    shapes = tf.reshape(shapes, (batch, config.patches, height, width))
    # 1 … patches of them are used, uniformly.
    used = 1 + tf.cast(uniform((batch, 1), seeds[2], 0.0, float(config.patches)), tf.int32)
    shapes &= (tf.range(config.patches)[None] < used)[:, :, None, None]
    if config.noise:
        # In place of the first patch; the others are not used then.
        noisy = uniform((batch, 1, 1), seeds[5]) < config.noise
        noise = noise_masks(batch, height, width, seeds[6])
        first = tf.where(noisy, noise, shapes[:, 0])
        shapes = tf.concat([first[:, None], shapes[:, 1:] & ~noisy[:, None]], axis=1)
    mask = tf.reduce_any(shapes, axis=1)
    if config.brightness == 0 and config.tint == 0:
        return mask, tf.zeros_like(x)
    each = (batch, config.patches, 1, 1)
    change = uniform(each, seeds[3], -config.brightness, config.brightness)
    tint = uniform((*each[:-1], channels), seeds[4], -config.tint, config.tint)
    change += _coloured_like(x, tint)
    # A row for each patch, after one of zeros: each pixel looks its own up. Where shapes overlap
    # the last one decides.
    table = tf.pad(change[:, :, 0], ((0, 0), (1, 0), (0, 0)))
    row = tf.zeros((batch, height, width), tf.int32)
    for k in range(config.patches):
        row = tf.where(shapes[:, k], k + 1, row)
    row += (tf.range(batch) * (config.patches + 1))[:, None, None]
    return mask, tf.gather(tf.reshape(table, (-1, x.shape[3])), row)


def _transform(x: tf.Tensor, config: CorruptionConfig, seed: tf.Tensor) -> tf.Tensor:
    """The whole image transformed; the caller keeps it inside M only."""
    seeds = split_seed(seed, 6)
    shape = tf.shape(x)
    batch, height, width = shape[0], shape[1], shape[2]
    weights = (config.elastic, config.patch_swap, config.texture, config.cut_out)
    draw = uniform((batch, 1, 1, 1), seeds[0], 0.0, sum(weights))
    if config.elastic or config.patch_swap:
        # One warp for both: a swap is a warp by a constant displacement.
        if config.elastic:
            sigma = uniform((batch,), seeds[2], *config.sigma)
            alpha = uniform((batch,), seeds[3], *config.alpha)
            field = displacement((batch, height, width), sigma, alpha, seeds[4])
        if config.patch_swap:
            swap = _swap((batch, height, width), config.size[0], seeds[1])
            field = tf.where(draw < config.elastic, field, swap) if config.elastic else swap
        changed = warp(x, field)
    else:
        changed = x
    if config.texture:
        warped = draw < config.elastic + config.patch_swap
        changed = tf.where(warped, changed, _texture(x, seeds[5]))
    if config.cut_out:
        changed *= tf.cast(draw < sum(weights[:3]), tf.float32)
    return changed


def _appearance(
    x: tf.Tensor, changed: tf.Tensor, config: CorruptionConfig, seed: tf.Tensor
) -> tf.Tensor:
    """The transformed image with another contrast, blended with the original."""
    seeds = split_seed(seed, 3)
    each = (tf.shape(x)[0], 1, 1, 1)
    if config.contrast:
        sigma = log_uniform(each[:1], seeds[0], *_CONTRAST_SIGMA)
        local_mean = gaussian_filter_each(changed, sigma)
        gain = uniform(each, seeds[1], 1.0 - config.contrast, 1.0 + config.contrast)
        changed = local_mean + gain * (changed - local_mean)
    if config.opacity[0] < 1.0:
        changed = x + uniform(each, seeds[2], *config.opacity) * (changed - x)
    return changed


def _texture(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A random texture for every image: smoothed noise about a random colour, like X."""
    seeds = split_seed(seed, 4)
    shape = tf.shape(x)
    # Smoothed by different widths along y and x: spots, stripes and anything between.
    noise = uniform(shape, seeds[0], -1.0, 1.0)
    sigma_y, sigma_x = (log_uniform(shape[:1], s, *_TEXTURE_SIGMA) for s in seeds[1:3])
    smooth = gaussian_filter_each(noise, sigma_y, sigma_x)
    spread = tf.sqrt(tf.reduce_mean(tf.square(smooth), axis=(1, 2, 3), keepdims=True))
    amplitude, colour = tf.split(uniform((shape[0], 1, 1, 2 * x.shape[3]), seeds[3]), 2, axis=-1)
    texture = colour + _TEXTURE_CONTRAST * amplitude * smooth / tf.maximum(spread, 1e-6)
    return _coloured_like(x, texture)


def _relief(region: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """What a dent, a bump or roughness under slanting light adds to each pixel, (B, H, W, 1).

    The shading of a height field is its slope towards the light. Colours stay as they are, which
    none of the transformations leaves them.
    """
    seeds = split_seed(seed, 5)
    shape = tf.shape(region)
    each = (shape[0], 1, 1, 1)
    inside = tf.cast(region, tf.float32)[..., None]
    rough = uniform(each, seeds[0]) < _RELIEF_ROUGH
    height = tf.where(rough, uniform((*tf.unstack(shape), 1), seeds[1], -1.0, 1.0), inside)
    height = gaussian_filter_each(height, log_uniform(each[:1], seeds[2], *_RELIEF_SIGMA))
    light = uniform(each, seeds[3], 0.0, 2.0 * math.pi)
    # No slope at the image's edge, as the filter continues it.
    slope_y = height - tf.concat([height[:, :1], height[:, :-1]], axis=1)
    slope_x = height - tf.concat([height[:, :, :1], height[:, :, :-1]], axis=2)
    shading = (tf.sin(light) * slope_y + tf.cos(light) * slope_x) * inside
    largest = tf.reduce_max(tf.abs(shading), axis=(1, 2, 3), keepdims=True)
    change = log_uniform(each, seeds[4], *_RELIEF_CHANGE)
    return change * shading / tf.maximum(largest, _EVEN)


def _coloured_like(x: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Grey values for grey images, whose network would learn to look for colour otherwise.

    Args:
        x: (B, H, W, C).
        values: (B, …, …, C).
    """
    has_colour = tf.reduce_any(x[..., 1:] != x[..., :-1], axis=(1, 2, 3), keepdims=True)
    return tf.where(has_colour, values, values[..., :1])


def _swap(
    shape: tuple[tf.Tensor, tf.Tensor, tf.Tensor], least_share: float, seed: tf.Tensor
) -> tf.Tensor:
    """Displacements (B, H, W, 2) to another place: one shift an image, round its borders."""
    batch, height, width = shape
    size = tf.stack([height, width])
    # Smaller shifts, either way round, would hardly move the patch.
    side = tf.cast(tf.reduce_min(size), tf.float32)
    least = tf.minimum(tf.cast(tf.math.ceil(least_share * side), tf.int32), size // 2)
    choices = tf.cast(size - 2 * least + 1, tf.float32)
    shift = least + tf.cast(uniform((batch, 2), seed) * choices, tf.int32)
    grid = tf.stack(tf.meshgrid(tf.range(height), tf.range(width), indexing="ij"), axis=-1)
    return tf.cast((grid + shift[:, None, None, :]) % size - grid, tf.float32)
