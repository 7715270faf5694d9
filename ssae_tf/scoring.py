"""From pictures to anomaly maps (sections 3.1 and 3.2): tensors in, tensor out."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from ssae_tf.config import ScoringConfig
from ssae_tf.tensor_ops import gaussian_filter, pad_reflect

# The network halves height and width three times.
MULTIPLE = 8


def reconstruct(
    model: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, margin: int = 0
) -> tf.Tensor:
    """F(X) for pictures of any size.

    Args:
        model: F, from (B, H, W, C) to the same, H and W multiples of 8.
        x: X, (B, H, W, C) float32 in [0, 1].
        margin: pixels of reflected picture on every side: the network answers less well beside the
            zeros that its convolutions see beyond the edge.

    Returns:
        F(X), (B, H, W, C): the picture is padded by reflection, to multiples of 8 at bottom and
        right, and the result cropped back.
    """
    shape = tf.shape(x)
    padded = model(pad_reflect(x, MULTIPLE, margin))
    return padded[:, margin : margin + shape[1], margin : margin + shape[2], :]


def anomaly_map(reconstruction: tf.Tensor, x: tf.Tensor, config: ScoringConfig) -> tf.Tensor:
    """The smoothed residual.

    Args:
        reconstruction: F(X), (B, H, W, C) float32.
        x: X, like F(X).
        config: the reading of "averaging ‖F(X) − X‖₂ over the channels", and the smoothing.

    Returns:
        (B, H, W) float32, at least 0; raw residuals in grey levels of [0, 1], never rescaled.
    """
    error = reconstruction - x
    if config.reading == "absolute":
        residual = tf.reduce_mean(tf.abs(error), axis=-1, keepdims=True)
    else:
        residual = tf.sqrt(tf.reduce_mean(tf.square(error), axis=-1, keepdims=True))
    return gaussian_filter(residual, config.smoothing_sigma)[..., 0]
