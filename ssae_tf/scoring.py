"""From pictures to anomaly maps (sections 3.1 and 3.2): tensors in, tensor out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ssae_tf.config import DOWNSAMPLING, ScoringConfig
from ssae_tf.local_statistics import LocalStatistics, local_features
from ssae_tf.tensor_ops import enlarge, gaussian_filter, pad_reflect, shrink


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
    padded = model(pad_reflect(x, DOWNSAMPLING, margin))
    return padded[:, margin : margin + shape[1], margin : margin + shape[2], :]


def anomaly_map(reconstruction: tf.Tensor, x: tf.Tensor, config: ScoringConfig) -> tf.Tensor:
    """The smoothed residual at one scale.

    Args:
        reconstruction: F(X), (B, H, W, C) float32.
        x: X, like F(X).
        config: the reading of "averaging ‖F(X) − X‖₂ over the channels", and the smoothing.

    Returns:
        (B, H, W) float32, at least 0; raw residuals in grey levels of [0, 1], never rescaled.
    """
    settled = config.settled
    residual = _residual(reconstruction - x, config, settled.residual_sigma)
    return gaussian_filter(residual, settled.smoothing_sigma)[..., 0]


def inspect(
    model: Callable[[tf.Tensor], tf.Tensor],
    x: tf.Tensor,
    config: ScoringConfig,
    weights: np.ndarray | None = None,
    statistics: LocalStatistics | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """F(X) and the anomaly map: everything between a picture and its map.

    The same network looks at the picture at every one of `config.scales`. A scratch is seen at
    full resolution, and a fold as wide as the network's view only where the picture is shrunk.

    Args:
        model: F, from (B, H, W, C) to the same, H and W multiples of 8.
        x: X, (B, H, W, C) float32 in [0, 1], of any size from 1 × 1.
        config: scales, margin, reading and smoothing.
        weights: what residuals are multiplied by, (scales, h, w) float32 at least 0, the scales in
            ascending order, each stretched over the picture; None for the mean over scales.
        statistics: what is usual by place; None for residuals alone.

    Returns:
        F(X) at the finest of the scales, (B, H, W, C) float32, and the map, (B, H, W) float32, at
        least 0: the weighted sum of the residuals of all scales, smoothed, and where there are
        statistics, what these make of it and of the coarsest scale.
    """
    residual_sigma, smoothing_sigma, scales = config.settled
    size = tf.shape(x)[1:3]
    reconstructions, residuals = [], []
    for index, scale in enumerate(sorted(scales)):
        seen = shrink(x, scale)
        answer = reconstruct(model, seen, config.margin)
        reconstructions.append(answer)
        residual = _residual(answer - seen, config, residual_sigma / scale)
        residual = enlarge(residual, scale)[:, : size[0], : size[1], :]
        if weights is None:
            residual /= len(scales)
        else:
            # A constant of the caller's graph, as in `gaussian_filter`.
            residual *= tf.image.resize(tf.constant(weights[index, None, ..., None]), size)
        residuals.append(residual)
    finest = enlarge(reconstructions[0], min(scales))[:, : size[0], : size[1], :]
    map_ = gaussian_filter(tf.add_n(residuals), smoothing_sigma)[..., 0]
    if statistics is not None:
        map_ = statistics.combine(map_, local_features(seen, answer))
    return finest, map_


def describe(
    model: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, config: ScoringConfig
) -> tf.Tensor:
    """What `inspect` compares with what is usual: `local_features` at the coarsest scale.

    Args:
        model, x, config: as in `inspect`.

    Returns:
        (B, CELLS, CELLS, features) float32.
    """
    seen = shrink(x, max(config.settled.scales))
    return local_features(seen, reconstruct(model, seen, config.margin))


def _residual(error: tf.Tensor, config: ScoringConfig, sigma: float) -> tf.Tensor:
    """(B, H, W, 1), at least 0, of F(X) − X."""
    error = gaussian_filter(error, sigma)
    if config.reading == "absolute":
        return tf.reduce_mean(tf.abs(error), axis=-1, keepdims=True)
    return tf.sqrt(tf.reduce_mean(tf.square(error), axis=-1, keepdims=True))
