"""Corruptions that are never trained on, for choosing checkpoints (section 3.2).

Models trained with objective (3) may learn to localise the training corruption and miss real
defects, so they are judged on other kinds: soft stains, scratches and patches of coarse noise.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from ssae_tf.corruption.compose import compose
from ssae_tf.corruption.shapes import random_masks, random_patches
from ssae_tf.ops.gaussian import gaussian_filter_each
from ssae_tf.ops.random import split_seed, uniform

# Smallest and largest side of the patch, as a share of the image's shorter side.
SIZE = (0.1, 0.4)
# Width of the Gaussian that softens the edges of stains and makes the noise coarse, pixels.
SIGMA = (1.0, 3.0)
NOISE_CONTRAST = 0.25

# The families: shape weights (blob, polygon, stroke), smallest and largest opacity.
_STAIN, _SCRATCH, _NOISE = range(3)
_SHAPES = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
_OPACITY = ((0.2, 0.6), (0.4, 0.9), (0.3, 0.8))


def held_out(
    x: tf.Tensor, seed: tf.Tensor, counted: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Corrupts one region of every image, by one of three families, each as often.

    A stain blends a blob towards a random colour, in half of the cases with softened edges; a
    scratch blends a thin stroke towards black or white; noise blends a polygon towards a coarse
    random texture. A pure function of its arguments, as `corrupt` is.

    Args:
        x: X, (B, H, W, C) float32 in [0, 1]; any of B, H, W may be unknown.
        seed: (2,) int32; the same seed and shape give the same regions.
        counted: as in `corrupt`.

    Returns:
        X̂ and M, both (B, H, W, C) float32. M is {0, 1}, equal in all channels, with at least one
        pixel in every image whose region is not ignored; X̂ is X bit for bit where M is 0, and
        differs from X somewhere in every such image.
    """
    seeds = split_seed(seed, 8)
    shape = tf.shape(x)
    batch, height, width, channels = shape[0], shape[1], shape[2], x.shape[3]
    family = tf.cast(uniform((batch, 1, 1), seeds[0], 0.0, 3.0), tf.int32)

    patches = random_patches(batch, height, width, SIZE, seeds[1])
    region = tf.zeros((batch, height, width), tf.bool)
    for index, (weights, own) in enumerate(zip(_SHAPES, split_seed(seeds[2], 3), strict=True)):
        region |= (family == index) & random_masks(patches, height, width, weights, own)

    # One filter serves both: the region for soft edges, noise for a texture.
    sigma = uniform((batch,), seeds[3], *SIGMA)
    inside = tf.cast(region, tf.float32)[..., None]
    noise = uniform((batch, height, width, channels), seeds[4], -1.0, 1.0)
    smooth = gaussian_filter_each(tf.concat([inside, noise], axis=-1), sigma)
    # The filter leaves this root mean square of uniform noise on [−1, 1).
    scale = 1.0 / (2.0 * math.sqrt(3.0 * math.pi) * sigma)[:, None, None, None]
    texture = 0.5 + NOISE_CONTRAST * smooth[..., 1:] / scale

    family = family[..., None]
    colour = uniform((batch, 1, 1, channels), seeds[5])
    colour = tf.where(family == _SCRATCH, tf.round(colour[..., :1]), colour)
    target = tf.where(family == _NOISE, tf.clip_by_value(texture, 0.0, 1.0), colour)
    low, high = (tf.gather(tf.constant(ends), family) for ends in zip(*_OPACITY, strict=True))
    opacity = low + (high - low) * uniform((batch, 1, 1, 1), seeds[6])
    is_soft = (family == _STAIN) & (uniform((batch, 1, 1, 1), seeds[7]) < 0.5)
    opacity *= tf.where(is_soft, smooth[..., :1], 1.0)
    if counted is not None:
        region &= counted[..., 0] > 0.0
    return compose(x, x + opacity * (target - x), region)


def corrupted_copies(images: np.ndarray, seed: tuple[int, int]) -> np.ndarray:
    """Images with what defects may look like.

    Args:
        images: (B, H, W, 3) float32 in [0, 1].
        seed: of the corruption.

    Returns:
        Like `images`.
    """
    x_hat, _ = held_out(tf.constant(images), tf.constant(seed))
    # Blending rounds beyond white.
    return np.clip(x_hat, 0.0, 1.0)
