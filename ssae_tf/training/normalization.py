"""Batch normalisation between training and inference (see docs/training.md).

Moving averages of small batches lag behind the weights and mix corrupted pictures in. Before a
model is judged or kept, its statistics are estimated anew from clean training pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import tensorflow as tf

from ssae_tf.models.blocks import BatchNormalization


def layers(model: tf.keras.Model) -> list[BatchNormalization]:
    """The batch normalisation layers of a model."""
    return [layer for layer in model.layers if isinstance(layer, BatchNormalization)]


def set_mode(model: tf.keras.Model, mode: Literal["batch", "moving"]) -> None:
    """Chooses what training normalises with; functions traced before keep the mode they had."""
    for layer in layers(model):
        layer.mode = mode


def estimate(model: tf.keras.Model, batches: Iterable[tf.Tensor]) -> None:
    """Sets the moving statistics to the plain mean of the batches' own.

    Args:
        model: the network.
        batches: clean pictures, each (B, H, W, C) float32.
    """
    norms = layers(model)
    modes = [layer.mode for layer in norms]
    statistics = [v for layer in norms for v in (layer.moving_mean, layer.moving_variance)]
    for layer in norms:
        layer.mode = "estimate"

    # In this mode a forward pass leaves its own statistics in the moving ones.
    @tf.function(autograph=False)
    def forward(x: tf.Tensor) -> None:
        model(x, training=True)

    sums = [np.zeros(tuple(variable.shape), np.float64) for variable in statistics]
    count = 0
    for x in batches:
        forward(x)
        count += 1
        for total, variable in zip(sums, statistics, strict=True):
            total += np.asarray(variable)
    for total, variable in zip(sums, statistics, strict=True):
        variable.assign((total / count).astype(np.float32))
    for layer, mode in zip(norms, modes, strict=True):
        layer.mode = mode
