"""The area rule inside a graph (section 4.2): whether a mask has a component that is large enough.

Exact, like `ssae_tf.scoring.threshold`, but at one threshold only: the score needs many.
"""

from __future__ import annotations

import tensorflow as tf


def reaches_area(mask: tf.Tensor, min_area: tf.Tensor) -> tf.Tensor:
    """Whether the largest 8-connected component of each mask has at least `min_area` pixels.

    Every pixel starts with a number of its own and takes the highest of its neighbourhood inside
    the mask, until nothing changes, but min_area − 1 times at most; then each number's pixels are
    counted. A component of fewer pixels has one number by then. In a larger one the highest number
    has reached every pixel within min_area − 1 steps, of which there are at least min_area.
    Nothing is done where too few pixels are in the mask, which is the rule on normal images.

    Args:
        mask: (B, H, W) bool; H·W below 2³¹.
        min_area: () int32, 1 … H·W.

    Returns:
        (B,) bool.
    """
    shape = tf.shape(mask)
    batch, count = shape[0], shape[1] * shape[2]
    own = tf.reshape(tf.range(1, count + 1), (1, shape[1], shape[2]))
    inside = tf.cast(mask, tf.int32)
    areas = tf.reduce_sum(inside, axis=(1, 2))

    def goes_on(step: tf.Tensor, _: tf.Tensor, changed: tf.Tensor) -> tf.Tensor:
        return changed & (step < min_area - 1)

    def spread(step: tf.Tensor, labels: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, ...]:
        new = inside * _highest_neighbour(labels)
        return step + 1, new, tf.reduce_any(tf.not_equal(new, labels))

    _, labels, _ = tf.while_loop(
        goes_on,
        spread,
        (tf.constant(0), inside * own, tf.reduce_any(areas >= min_area)),
        shape_invariants=(
            tf.TensorShape(()),
            tf.TensorShape((None, None, None)),
            tf.TensorShape(()),
        ),
    )
    # Numbers of different images are told apart; 0 is outside, where nothing is counted.
    numbers = labels + tf.reshape(tf.range(batch) * (count + 1), (-1, 1, 1))
    counts = tf.tensor_scatter_nd_add(
        tf.zeros(tf.reshape(batch * (count + 1), (1,)), tf.int32),
        tf.reshape(numbers, (-1, 1)),
        tf.reshape(inside, (-1,)),
    )
    largest = tf.reduce_max(tf.reshape(counts, tf.stack([batch, count + 1])), axis=1)
    return largest >= min_area


def _highest_neighbour(labels: tf.Tensor) -> tf.Tensor:
    """The maximum over 3 × 3 pixels, (B, H, W) int32.

    By shifted copies: a max-pooling of one channel takes 50 times as long on the CPU, and its
    floats would tell only 2²⁴ pixels apart.
    """
    rows = tf.pad(labels, ((0, 0), (1, 1), (0, 0)))
    labels = tf.maximum(tf.maximum(rows[:, :-2], rows[:, 2:]), labels)
    columns = tf.pad(labels, ((0, 0), (0, 0), (1, 1)))
    return tf.maximum(tf.maximum(columns[:, :, :-2], columns[:, :, 2:]), labels)
