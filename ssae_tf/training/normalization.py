"""Batch normalisation between training and inference.

Moving averages of small batches lag behind the weights and mix corrupted images in. Before a
model is validated or kept, its statistics are estimated anew from clean training images.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from ssae_tf.models.blocks import BatchNormalization


def layers(model: tf.keras.Model) -> list[BatchNormalization]:
    """The batch normalisation layers of a model."""
    return [layer for layer in model.layers if isinstance(layer, BatchNormalization)]


@contextlib.contextmanager
def statistics_kept(model: tf.keras.Model) -> Iterator[None]:
    """Puts the moving statistics back at the end of the block."""
    with kept(_statistics(model)):
        yield


@contextlib.contextmanager
def kept(variables: Sequence[tf.Variable]) -> Iterator[None]:
    """Puts the values of variables back at the end of the block."""
    before = [tf.identity(tf.convert_to_tensor(variable)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def make_estimate(model: tf.keras.Model) -> Callable[[Iterable[tf.Tensor]], None]:
    """Compiles the re-estimation of a model's moving statistics, once for all its calls.

    Returns:
        A function of clean images, at least one batch, each (B, H, W, C) float32. It sets the
        moving statistics to the plain mean of the batches' own, and changes nothing else.
    """
    statistics = _statistics(model)

    @tf.function(autograph=False)
    def forward(x: tf.Tensor) -> None:
        # The layers read their mode while this is traced. In "estimate" a forward pass leaves its
        # own statistics in the moving ones.
        norms = layers(model)
        before = [layer.mode for layer in norms]
        try:
            for layer in norms:
                layer.mode = "estimate"
            model(x, training=True)
        finally:
            for layer, mode in zip(norms, before, strict=True):
                layer.mode = mode

    def estimate(batches: Iterable[tf.Tensor]) -> None:
        sums = [np.zeros(tuple(variable.shape), np.float64) for variable in statistics]
        count = 0
        for x in batches:
            forward(x)
            count += 1
            for total, variable in zip(sums, statistics, strict=True):
                total += np.asarray(variable)
        for total, variable in zip(sums, statistics, strict=True):
            variable.assign((total / count).astype(np.float32))

    return estimate


def _statistics(model: tf.keras.Model) -> list[tf.Variable]:
    return [v for layer in layers(model) for v in (layer.moving_mean, layer.moving_variance)]
