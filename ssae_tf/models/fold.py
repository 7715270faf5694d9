"""The network as it inspects: the same function without batch normalisation and dead taps."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf.errors import RunError
from ssae_tf.models.blocks import (
    EPSILON,
    BatchNormalization,
    DilatedConv2D,
    outermost_tap,
    registered,
)
from ssae_tf.models.keras_defaults import keras_defaults

_PASSING = (tf.keras.layers.Concatenate, tf.keras.layers.Activation)
_CONVOLUTIONS = (tf.keras.layers.Conv2D, tf.keras.layers.Conv2DTranspose, DilatedConv2D)


@keras_defaults()
def folded(model: tf.keras.Model) -> tf.keras.Model:
    """A copy in which every batch normalisation has become weights of the convolutions before it.

    At inspection batch normalisation is γ (x − μ) / √(σ² + ε) + β with constants, so that it can be
    multiplied into the kernels and added as their bias. Dilated kernels are cropped to the taps
    that are not zero.

    Args:
        model: F, a functional model in which batch normalisation follows convolutions without
            bias, directly or joined by a Concatenate.

    Returns:
        From (B, H, W, C) to the same, float32, with other weights and an answer equal to rounding;
        the model itself where nothing is to be folded or cropped.
    """
    if not any(isinstance(layer, (BatchNormalization, DilatedConv2D)) for layer in model.layers):
        return model
    scales, offsets = _folding(model)

    def clone(layer: Any) -> Any:
        if isinstance(layer, BatchNormalization):
            return tf.keras.layers.Activation("linear", name=layer.name)
        if isinstance(layer, DilatedConv2D):
            side = 2 * outermost_tap(np.asarray(layer.kernel)) + 1
            return Dilated(layer.filters, side, layer.rate if side > 1 else 1, name=layer.name)
        settings = layer.get_config()
        if layer.name in offsets:
            settings["use_bias"] = True
        return type(layer).from_config(settings)

    copy = tf.keras.models.clone_model(model, clone_function=clone)
    for layer in model.layers:
        weights = [np.asarray(weight, np.float64) for weight in layer.weights]
        if isinstance(layer, BatchNormalization) or not weights:
            continue
        if isinstance(layer, DilatedConv2D):
            offsets.setdefault(layer.name, np.zeros(layer.filters))
            dead = (layer.kernel_size - copy.get_layer(layer.name).kernel_size) // 2
            live = slice(dead, layer.kernel_size - dead)
            weights[0] = weights[0][live, live]
        if layer.name in offsets:
            # The kernels of transposed convolutions have their outputs before their inputs.
            is_transposed = isinstance(layer, tf.keras.layers.Conv2DTranspose)
            scale = scales.get(layer.name, np.ones(layer.filters))
            weights = [weights[0] * (scale[:, None] if is_transposed else scale)]
            weights.append(offsets[layer.name])
        copy.get_layer(layer.name).set_weights([weight.astype(np.float32) for weight in weights])
    return copy


def _folding(model: tf.keras.Model) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What each convolution's outputs are multiplied by, and what is added to them, by its name."""
    scales: dict[str, np.ndarray] = {}
    offsets: dict[str, np.ndarray] = {}
    for layer in model.layers:
        if not isinstance(layer, BatchNormalization):
            continue
        gamma, beta, mean, variance = (
            np.asarray(weight, np.float64)
            for weight in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
        )
        scale = gamma / np.sqrt(variance + EPSILON)
        offset = beta - mean * scale
        first = 0
        for source in sources(layer):
            if not isinstance(source, _CONVOLUTIONS) or getattr(source, "use_bias", False):
                raise RunError(
                    f"Expected {layer.name!r} to follow convolutions without bias. "
                    f"Received: {source.name!r}."
                )
            last = first + source.filters
            scales[source.name], offsets[source.name] = scale[first:last], offset[first:last]
            first = last
    return scales, offsets


def sources(layer: Any) -> list[Any]:
    """The layers whose outputs a layer gets, in order.

    Those before a Concatenate stand in its place, and so do those before what was folded away.
    """
    inputs = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    # The first entry of the history is the layer under both versions of Keras.
    before = [tensor._keras_history[0] for tensor in inputs]
    return [
        other
        for source in before
        for other in (sources(source) if isinstance(source, _PASSING) else [source])
    ]


@registered
class Dilated(tf.keras.layers.Layer):
    """A dilated convolution with bias as one operation.

    What Keras makes of one, moving pixels into the batch and back, is what its gradient needs.
    """

    def __init__(self, filters: int, kernel_size: int, rate: int, **keras_arguments: Any) -> None:
        super().__init__(**keras_arguments)
        self.filters = filters
        self.kernel_size = kernel_size
        self.rate = rate

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the kernel and the bias."""
        shape = (self.kernel_size, self.kernel_size, int(input_shape[-1] or 0), self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape)
        self.bias = self.add_weight(name="bias", shape=(self.filters,))
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) -> (B, H, W, filters)."""
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME", dilations=self.rate), bias)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape with `filters` channels."""
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` takes."""
        names = ("filters", "kernel_size", "rate")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
