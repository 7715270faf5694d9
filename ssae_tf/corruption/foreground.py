"""Which blocks of an image belong to a part, and not to the plain background that it lies on."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from ssae_tf.ops.random import split_seed

# Side of the blocks, pixels.
_BLOCK = 8
# A block of the background deviates from its mean by less than this share of what the liveliest do
# (their quantile), and from the colour of the image's border by less than so many grey levels of
# [0, 1].
_MAX_SHARE, _LIVELIEST = 0.25, 0.95
_MAX_COLOUR_DIFFERENCE = 0.1
# Smaller deviations are rounding.
_EVEN = 1e-3
_REDRAWS = 4


def foreground(x: tf.Tensor) -> tf.Tensor:
    """Tells a part from the plain background that it lies on.

    A block is background where it and all blocks around it are even, and have the colour of the
    image's border. Of a surface all or nearly all is foreground, and so it is around a part of less
    than a twentieth of the image; an image of one colour has none.

    Args:
        x: X, (B, H, W, C) float32 in [0, 1].

    Returns:
        (B, ⌈H / 8⌉, ⌈W / 8⌉) bool, one value for 8 × 8 pixels.
    """
    means, squares = (tf.nn.avg_pool2d(v, _BLOCK, _BLOCK, "SAME") for v in (x, tf.square(x)))
    variance = tf.reduce_mean(squares - tf.square(means), axis=-1)
    deviation = tf.sqrt(tf.nn.relu(variance))
    ranked = tf.sort(tf.reshape(deviation, (tf.shape(x)[0], -1)))
    rank = _LIVELIEST * tf.cast(tf.shape(ranked)[1] - 1, tf.float32)
    lively = tf.gather(ranked, tf.cast(rank, tf.int32), axis=1)[:, None, None]
    edges = [means[:, 0], means[:, -1], means[:, :, 0], means[:, :, -1]]
    border = tf.sort(tf.concat(edges, axis=1), axis=1)
    median = border[:, tf.shape(border)[1] // 2, None, None]
    difference = tf.reduce_max(tf.abs(means - median), axis=-1)
    part = (deviation > tf.maximum(_MAX_SHARE * lively, _EVEN)) | (
        difference >= _MAX_COLOUR_DIFFERENCE
    )
    around = tf.nn.max_pool2d(tf.cast(part, tf.float32)[..., None], 3, 1, "SAME")
    return around[..., 0] > 0.0


def on_foreground(
    blocks: tf.Tensor, draw: Callable[[tf.Tensor], tf.Tensor], seed: tf.Tensor
) -> tf.Tensor:
    """Draws places, and again, a few times, those that fall on the background.

    Args:
        blocks: (N, h, w) bool, `foreground` of each place's image.
        draw: of a seed: (2, N) float32, y and x in pixels.
        seed: (2,) int32; the first draw is of this seed.

    Returns:
        As `draw`. Some places are on the background still.
    """
    index = tf.range(tf.shape(blocks)[0])
    place = draw(seed)
    for again in tf.unstack(split_seed(seed, _REDRAWS)):
        row, column = tf.unstack(tf.cast(place, tf.int32) // _BLOCK)
        is_foreground = tf.gather_nd(blocks, tf.stack([index, row, column], axis=1))
        place = tf.where(is_foreground, place, draw(again))
    return place
