"""What a network answers to an image, taken apart."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Answer(NamedTuple):
    """What a network answers to X.

    Attributes:
        reconstruction: F(X), (B, H, W, C) float32 in [0, 1].
        gate: A, (B, H, W, 1) float32 in [0, 1]; None of a network that is not gated.
        repaint: G(X), like F(X); None likewise.
    """

    reconstruction: tf.Tensor
    gate: tf.Tensor | None
    repaint: tf.Tensor | None


def answer(output: tf.Tensor, channels: int = 3) -> Answer:
    """Takes a network's output apart.

    Args:
        output: of a model of `ssae_tf.models.autoencoder`, (B, H, W, channels), or of a gated one
            (B, H, W, 2 · channels + 1).
    """
    if output.shape[-1] == channels:
        return Answer(output, None, None)
    reconstruction, gate, repaint = tf.split(output, (channels, 1, channels), axis=-1)
    return Answer(reconstruction, gate, repaint)
