"""From images to anomaly maps (sections 3.1 and 3.2): tensors in, tensor out."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from ssae_tf.config import RunConfig, ScoringConfig
from ssae_tf.models.answer import Answer, answer
from ssae_tf.ops.gaussian import gaussian_filter
from ssae_tf.ops.resampling import pad_reflect
from ssae_tf.scoring.views import augmented, averaged, views

# Of the weight of a Gaussian: less than a single pixel has of the widest one in use.
_MIN_SHARE = 1e-6


def respond(model: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, multiple: int) -> Answer:
    """The network's answer to images of any size.

    Args:
        model: from (B, H, W, C), H and W multiples of `multiple`, to what
            `ssae_tf.answer.answer` takes apart.
        x: X, (B, H, W, C) float32 in [0, 1].
        multiple: `ModelConfig.downsampling`.

    Returns:
        F(X), and A and G(X) where there are any, in the size of X: the image is padded by
        reflection, to multiples at bottom and right, and the result cropped back.
    """
    shape = tf.shape(x)
    padded = model(pad_reflect(x, multiple))
    return answer(padded[:, : shape[1], : shape[2], :], x.shape[-1])


def anomaly_map(
    output: Answer,
    x: tf.Tensor,
    config: ScoringConfig,
    counted: tf.Tensor | None = None,
) -> tf.Tensor:
    """The evidence of the network, smoothed.

    Where some of it is ignored, what counts is smoothed by itself (normalized convolution: Knutsson
    and Westin, 1993): ignored evidence does not leak into its surroundings, and these are no
    fainter for the lack of it.

    Args:
        output: the network's answer to X.
        x: X, (B, H, W, C) float32.
        config: the evidence, the reading of "averaging ‖F(X) − X‖₂ over the channels", and the
            smoothing.
        counted: (1 or B, H, W, 1) float32, 1 where evidence counts and 0 where it is ignored; None
            for 1.

    Returns:
        (B, H, W) float32, at least 0; residuals in grey levels of [0, 1], or the share of each
        pixel that is repainted; never rescaled.
    """
    return _smoothed(_evidence(output, x, config), config.sigma, counted)


def inspect(
    model: Callable[[tf.Tensor], tf.Tensor],
    x: tf.Tensor,
    config: RunConfig,
    counted: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """F(X) and the anomaly map: everything between an image and its map.

    Args:
        model: as in `respond`.
        x: X, (B, H, W, C) float32 in [0, 1], of any size from 1 × 1.
        config: of scoring, and the multiple that the network asks for.
        counted: as in `anomaly_map`.

    Returns:
        F(X), (B, H, W, C) float32, and the map, (B, H, W) float32, of `anomaly_map`: with
        test-time augmentation of the mean of the evidence over the views.
    """
    used = views(config)
    seen = augmented(x, used)
    output = respond(model, seen, config.model.downsampling)
    evidence = averaged(_evidence(output, seen, config.scoring), used)
    reconstruction = tf.split(output.reconstruction, len(used))[0]
    return reconstruction, _smoothed(evidence, config.scoring.sigma, counted)


def _smoothed(evidence: tf.Tensor, sigma: float, counted: tf.Tensor | None) -> tf.Tensor:
    """(B, H, W, 1) evidence to the map, (B, H, W)."""
    if counted is None:
        return gaussian_filter(evidence, sigma)[..., 0]
    both = tf.concat([evidence, tf.ones_like(evidence)], axis=-1) * counted
    smooth = gaussian_filter(both, sigma)
    return smooth[..., 0] / tf.maximum(smooth[..., 1], _MIN_SHARE)


def _evidence(output: Answer, x: tf.Tensor, config: ScoringConfig) -> tf.Tensor:
    """(B, H, W, 1), at least 0."""
    if config.evidence == "gate":
        return output.gate
    error = output.reconstruction - x
    if config.reading == "absolute":
        return tf.reduce_mean(tf.abs(error), axis=-1, keepdims=True)
    return tf.sqrt(tf.reduce_mean(tf.square(error), axis=-1, keepdims=True))
