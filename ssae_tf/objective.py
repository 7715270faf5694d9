"""The training objectives, equations (1), (2) and (3) of section 3.1.

λ weighs the uncorrupted region. The defaults: 0.5 for (1), as section 4.4 recommends; 0.9 for (2)
and (3), whose second term pays the network for errors and takes over at smaller λ (see
`docs/training.md`).
"""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

DEFAULT_WEIGHT = {1: 0.5, 2: 0.9, 3: 0.9}


def objective(
    reconstruction: tf.Tensor,
    x: tf.Tensor,
    x_hat: tf.Tensor,
    mask: tf.Tensor,
    *,
    equation: Literal[1, 2, 3] = 1,
    weight: float | None = None,
    norm: Literal["l2", "l2_squared", "l1"] = "l2",
) -> tf.Tensor:
    """L(X̂, X) of every picture.

    Args:
        reconstruction: F(X̂), (B, H, W, C) float32 in [0, 1].
        x: X, like F(X̂).
        x_hat: X̂, like F(X̂); only equation (3) reads it.
        mask: M, like F(X̂), {0, 1}. ‖M‖₁ counts channels.
        equation: 1, 2 or 3.
        weight: λ in [0, 1]; None takes `DEFAULT_WEIGHT`.
        norm: "l2" as printed; "l2_squared" squares both norms and "l1" takes ‖·‖₁ for them, which
            makes (1) a weighted sum of the mean squared or absolute errors of the two regions.

    Returns:
        (B,) float32. A region without pixels adds nothing, to value and gradient.

    Raises:
        ValueError: `equation` or `norm` is none of the above.
    """
    if equation not in DEFAULT_WEIGHT:
        raise ValueError(
            "Invalid value for argument `equation`. Expected 1, 2 or 3. "
            f"Received: equation={equation!r}"
        )
    if norm not in ("l2", "l2_squared", "l1"):
        raise ValueError(
            "Invalid value for argument `norm`. Expected 'l2', 'l2_squared' or 'l1'. "
            f"Received: norm={norm!r}"
        )
    lam = DEFAULT_WEIGHT[equation] if weight is None else weight
    error = reconstruction - x
    normal = _term(error, 1.0 - mask, norm)
    corrupted = _term(error, tf.abs(x_hat - x) if equation == 3 else mask, norm)
    sign = 1.0 if equation == 1 else -1.0
    return lam * normal + sign * (1.0 - lam) * corrupted


def _term(error: tf.Tensor, region: tf.Tensor, norm: str) -> tf.Tensor:
    """‖R ⊙ error‖ / ‖R‖₁ of every picture, (B,), in the norm asked for; 0 where R is."""
    axes = (1, 2, 3)
    size = tf.reduce_sum(region, axis=axes)
    masked = region * error
    total = tf.reduce_sum(tf.abs(masked) if norm == "l1" else tf.square(masked), axis=axes)
    if norm == "l2":
        # The root of 0 has an infinite slope, and XLA turns 0 · inf into NaN even behind `where` or
        # `divide_no_nan`: the root must never see the 0. A NaN is not equal to 0, and shows.
        positive = tf.not_equal(total, 0.0)
        total = tf.where(positive, tf.sqrt(tf.where(positive, total, 1.0)), 0.0)
    return tf.where(size > 0.0, total / tf.where(size > 0.0, size, 1.0), 0.0)


def region_errors(
    reconstruction: tf.Tensor, x: tf.Tensor, mask: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean absolute errors outside and inside M, over the whole batch; for reports.

    Args:
        reconstruction, x, mask: as in `objective`.

    Returns:
        Two scalars in [0, 1]; 0 for a region without pixels.
    """
    error = tf.abs(reconstruction - x)
    outside = tf.math.divide_no_nan(tf.reduce_sum(error * (1.0 - mask)), tf.reduce_sum(1.0 - mask))
    inside = tf.math.divide_no_nan(tf.reduce_sum(error * mask), tf.reduce_sum(mask))
    return outside, inside
