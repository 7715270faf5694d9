"""X -> (X̂, M): deforms, cuts out or swaps random patches of each picture (section 3.2)."""

from __future__ import annotations

import tensorflow as tf

from ssae_tf.config import CorruptionConfig
from ssae_tf.corruption.compose import compose
from ssae_tf.corruption.elastic import displacement, warp
from ssae_tf.corruption.shapes import random_masks, random_patches
from ssae_tf.tensor_ops import split_seed, uniform


def corrupt(x: tf.Tensor, seed: tf.Tensor, config: CorruptionConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Corrupts random regions of every picture.

    A pure function of its arguments: the same in tf.data, eagerly and inside a compiled step.

    Args:
        x: X, (B, H, W, C) float32 in [0, 1]; any of B, H, W may be unknown.
        seed: (2,) int32; the same seed and shape give the same regions.
        config: what is done how often.

    Returns:
        X̂ and M, both (B, H, W, C) float32. M is {0, 1}, equal in all channels, with at least one
        pixel in every picture; X̂ is X bit for bit where M is 0, and differs from X somewhere in
        every picture.
    """
    seeds = split_seed(seed, 2)
    region, brightness = _regions(tf.shape(x), config, seeds[0])
    changed = _transform(x, config, seeds[1]) + brightness
    return compose(x, changed, region)


def _regions(
    shape: tf.Tensor, config: CorruptionConfig, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """M as (B, H, W) bool, and what is added to each pixel, (B, H, W, C) float32."""
    seeds = split_seed(seed, 5)
    batch, height, width, channels = tf.unstack(shape, num=4)
    count = batch * config.patches
    patches = random_patches(count, height, width, config.size, seeds[0])
    shapes = random_masks(
        patches, height, width, (config.blob, config.polygon, config.stroke), seeds[1]
    )
    shapes = tf.reshape(shapes, (batch, config.patches, height, width))
    # 1 … patches of them are used, uniformly.
    used = 1 + tf.cast(uniform((batch, 1), seeds[2], 0.0, float(config.patches)), tf.int32)
    shapes &= (tf.range(config.patches)[None] < used)[:, :, None, None]
    mask = tf.reduce_any(shapes, axis=1)
    added = tf.zeros((batch, height, width, channels))
    if config.brightness == 0 and config.tint == 0:
        return mask, added
    each = (batch, config.patches, 1, 1, 1)
    change = uniform(each, seeds[3], -config.brightness, config.brightness)
    change += uniform((*each[:-1], channels), seeds[4], -config.tint, config.tint)
    # Where shapes overlap the last one decides.
    for k in range(config.patches):
        added = tf.where(shapes[:, k, ..., None], change[:, k], added)
    return mask, added


def _transform(x: tf.Tensor, config: CorruptionConfig, seed: tf.Tensor) -> tf.Tensor:
    """The whole picture transformed; the caller keeps it inside M only."""
    seeds = split_seed(seed, 5)
    shape = tf.shape(x)
    batch, height, width = shape[0], shape[1], shape[2]
    weights = (config.elastic, config.patch_swap, config.cut_out)
    draw = uniform((batch, 1, 1, 1), seeds[0], 0.0, sum(weights))
    if config.elastic or config.patch_swap:
        # One warp for both: a swap is a warp by a constant displacement.
        field = _swap((batch, height, width), config.size[0], seeds[1])
        if config.elastic:
            sigma = uniform((batch,), seeds[2], *config.sigma)
            alpha = uniform((batch,), seeds[3], *config.alpha)
            elastic = displacement((batch, height, width), sigma, alpha, seeds[4])
            field = tf.where(draw < config.elastic, elastic, field)
        changed = warp(x, field)
    else:
        changed = x
    if config.cut_out:
        changed = tf.where(draw < config.elastic + config.patch_swap, changed, 0.0)
    return changed


def _swap(
    shape: tuple[tf.Tensor, tf.Tensor, tf.Tensor], least_share: float, seed: tf.Tensor
) -> tf.Tensor:
    """Displacements (B, H, W, 2) to another place: one shift a picture, round its borders."""
    batch, height, width = shape
    size = tf.stack([height, width])
    # Smaller shifts, either way round, would hardly move the patch.
    side = tf.cast(tf.reduce_min(size), tf.float32)
    least = tf.minimum(tf.cast(tf.math.ceil(least_share * side), tf.int32), size // 2)
    choices = tf.cast(size - 2 * least + 1, tf.float32)
    shift = least + tf.cast(uniform((batch, 2), seed) * choices, tf.int32)
    grid = tf.stack(tf.meshgrid(tf.range(height), tf.range(width), indexing="ij"), axis=-1)
    return tf.cast((grid + shift[:, None, None, :]) % size - grid, tf.float32)
