"""The training objectives, equations (1), (2) and (3) of section 3.1.

λ weighs the uncorrupted region. The defaults: 0.5 for (1), as section 4.4 recommends; 0.9 for (2)
and (3), whose second term pays the network for errors and takes over at smaller λ.
"""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

from ssae_tf.errors import InputError
from ssae_tf.ops.gaussian import gaussian_filter

# As its authors have them, for values in [0, 1].
_SSIM_SIGMA, _SSIM_C1, _SSIM_C2 = 1.5, 0.01**2, 0.03**2

# Of a gate's cross-entropy beside errors of images.
_GATE_WEIGHT = 3.0
# Below it the logarithm of a gate's likelihood has no slope.
_MIN_LIKELIHOOD = 1e-6

DEFAULT_WEIGHT = {1: 0.5, 2: 0.9, 3: 0.9}


def objective(
    reconstruction: tf.Tensor,
    x: tf.Tensor,
    x_hat: tf.Tensor,
    mask: tf.Tensor,
    *,
    equation: Literal[1, 2, 3] = 1,
    weight: float | None = None,
    norm: Literal["l2", "l2_squared", "l1", "ssim"] = "l2",
) -> tf.Tensor:
    """L(X̂, X) of every image.

    Args:
        reconstruction: F(X̂), (B, H, W, C) float32 in [0, 1].
        x: X, like F(X̂).
        x_hat: X̂, like F(X̂); only equation (3) reads it.
        mask: M, like F(X̂), {0, 1}. ‖M‖₁ counts channels.
        equation: 1, 2 or 3.
        weight: λ in [0, 1]; None takes `DEFAULT_WEIGHT`.
        norm: "l2" as printed; "l2_squared" squares both norms and "l1" takes ‖·‖₁ for them, which
            makes (1) a weighted sum of the mean squared or absolute errors of the two regions.
            "ssim" is "l1" of the dissimilarity, 1 − SSIM of every pixel and channel, in place of
            the error.

    Returns:
        (B,) float32. A region without pixels adds nothing, to value and gradient.

    Raises:
        InputError: `equation` or `norm` is none of the above.
    """
    if equation not in DEFAULT_WEIGHT:
        raise InputError(
            "Invalid value for argument `equation`. Expected 1, 2 or 3. "
            f"Received: equation={equation!r}"
        )
    if norm not in ("l2", "l2_squared", "l1", "ssim"):
        raise InputError(
            "Invalid value for argument `norm`. Expected 'l2', 'l2_squared', 'l1' or 'ssim'. "
            f"Received: norm={norm!r}"
        )
    lam = DEFAULT_WEIGHT[equation] if weight is None else weight
    error = reconstruction - x if norm != "ssim" else 1.0 - structural_similarity(reconstruction, x)
    normal = _term(error, 1.0 - mask, norm)
    corrupted = _term(error, tf.abs(x_hat - x) if equation == 3 else mask, norm)
    sign = 1.0 if equation == 1 else -1.0
    return lam * normal + sign * (1.0 - lam) * corrupted


def _term(error: tf.Tensor, region: tf.Tensor, norm: str) -> tf.Tensor:
    """‖R ⊙ error‖ / ‖R‖₁ of every image, (B,), in the norm asked for; 0 where R is."""
    axes = (1, 2, 3)
    size = tf.reduce_sum(region, axis=axes)
    masked = region * error
    total = tf.reduce_sum(tf.square(masked) if norm.startswith("l2") else tf.abs(masked), axis=axes)
    if norm == "l2":
        # The root of 0 has an infinite slope, and XLA turns 0 · inf into NaN even behind `where` or
        # `divide_no_nan`: the root must never see the 0. A NaN is not equal to 0, and shows.
        positive = tf.not_equal(total, 0.0)
        total = tf.where(positive, tf.sqrt(tf.where(positive, total, 1.0)), 0.0)
    return tf.where(size > 0.0, total / tf.where(size > 0.0, size, 1.0), 0.0)


def gate_error(gate: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of the gate A and M, of all pixels alike.

    Pixels of normal regions outnumber those of M by far, and should: were both regions weighed as
    in equation (1), a gate would open wherever a normal image looks a little unusual
    (docs/training.md).

    Args:
        gate: A, (B, H, W, 1) float32 in [0, 1].
        mask: M, (B, H, W, C) float32, {0, 1}, equal in all channels.

    Returns:
        (B,) float32: three times the mean over all pixels of −log of the likelihood, nats.
    """
    inside = mask[..., :1]
    likelihood = tf.where(inside > 0.0, gate, 1.0 - gate)
    surprise = -tf.math.log(tf.clip_by_value(likelihood, _MIN_LIKELIHOOD, 1.0))
    return _GATE_WEIGHT * tf.reduce_mean(surprise, axis=(1, 2, 3))


def structural_similarity(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """SSIM of every pixel and channel (Wang et al., 2004; the loss of AE-SSIM, Bergmann et al.).

    Args:
        a, b: (B, H, W, C) float32 in [0, 1].

    Returns:
        (B, H, W, C) float32 in [−1, 1]: 1 where a Gaussian window of width 1.5 sees the same mean,
        variance and structure. Borders are continued by reflection.
    """
    shape = tf.shape(a)
    batch, height, width, channels = shape[0], shape[1], shape[2], a.shape[3]

    def local_means(*values: tf.Tensor) -> list[tf.Tensor]:
        planes = tf.transpose(tf.stack(values), (0, 1, 4, 2, 3))
        smooth = gaussian_filter(tf.reshape(planes, (-1, height, width, 1)), _SSIM_SIGMA)
        planes = tf.reshape(smooth, (len(values), batch, channels, height, width))
        return tf.unstack(tf.transpose(planes, (0, 1, 3, 4, 2)))

    mean_a, mean_b, *squares = local_means(a, b, a * a, b * b, tf.square(a - b))
    variance_a, variance_b = squares[0] - mean_a**2, squares[1] - mean_b**2
    # Both variances less twice the covariance: nothing is left of it, not even rounding, where a
    # is b.
    variance_of_difference = squares[2] - (mean_a - mean_b) ** 2
    luminance = (2.0 * mean_a * mean_b + _SSIM_C1) / (mean_a**2 + mean_b**2 + _SSIM_C1)
    return luminance * (1.0 - variance_of_difference / (variance_a + variance_b + _SSIM_C2))


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
    corrupted = error * mask
    inside, area = tf.reduce_sum(corrupted), tf.reduce_sum(mask)
    outside, rest = tf.reduce_sum(error - corrupted), tf.cast(tf.size(mask), tf.float32) - area
    return tf.math.divide_no_nan(outside, rest), tf.math.divide_no_nan(inside, area)
