"""The network in training once batch normalisation stands still: without passes for it.

With moving statistics it multiplies every channel by a number and adds another. Multiplied into the
kernel of the convolution before it, and added with the bias, both cost nothing per pixel, in the
forward pass and in the backward pass. Weights and their gradients stay those of the network.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ssae_tf.models.blocks import BatchNormalization, DilatedConv2D
from ssae_tf.models.graph import inbound, inputs_of


def folded_pass(model: tf.keras.Model, x: tf.Tensor) -> tf.Tensor:
    """What `model(x, training=True)` gives while its batch normalisation is in mode "moving".

    Args:
        model: from `autoencoder`, or one of the same kinds of layers in which batch normalisation
            follows convolutions without bias, directly or joined by a Concatenate.
        x: (B, H, W, C) float32 in [0, 1].

    Returns:
        (B, H, W, C) float32, equal to rounding, and so are gradients.
    """
    # Of the layers so far; a folded convolution has none.
    values: dict[str, tf.Tensor] = {}
    folded = {
        layer.name
        for norm in model.layers
        if isinstance(norm, BatchNormalization)
        for layer in (*inbound(norm), *_convolutions(norm))
    }
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.InputLayer):
            values[layer.name] = x
        elif isinstance(layer, BatchNormalization):
            values[layer.name] = _normalised(layer, values)
        elif layer.name not in folded:
            values[layer.name] = layer(inputs_of(layer, values))
    return values[model.layers[-1].name]


def _convolutions(norm: BatchNormalization) -> list[Any]:
    """The convolutions whose outputs, joined in this order, are normalised."""
    (source,) = inbound(norm)
    return inbound(source) if isinstance(source, tf.keras.layers.Concatenate) else [source]


def _normalised(norm: BatchNormalization, values: dict[str, tf.Tensor]) -> tf.Tensor:
    """The normalisation's output, from the inputs of the convolutions before it."""
    scale, offset = norm.scale_and_offset()
    layers = _convolutions(norm)
    scales = tf.split(scale, [layer.filters for layer in layers])
    parts = [
        _convolved(layer, values[inbound(layer)[0].name], factor)
        for layer, factor in zip(layers, scales, strict=True)
    ]
    joined = tf.concat(parts, axis=-1) if len(parts) > 1 else parts[0]
    return tf.nn.bias_add(joined, tf.cast(offset, joined.dtype))


def _convolved(layer: Any, x: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """The convolution's output times `scale`, (filters,)."""
    x = tf.cast(x, layer.compute_dtype)
    if isinstance(layer, DilatedConv2D):
        return layer.convolve(x, True, scale)
    kernel = tf.convert_to_tensor(layer.kernel)
    if isinstance(layer, tf.keras.layers.Conv2DTranspose):
        # Its kernel is (rows, columns, outputs, inputs).
        kernel = tf.cast(kernel * scale[:, None], x.dtype)
        shape, (rows, columns) = tf.shape(x), layer.strides
        size = [x.shape[k] or shape[k] for k in range(3)]
        shape = (size[0], size[1] * rows, size[2] * columns, layer.filters)
        return tf.nn.conv2d_transpose(x, kernel, shape, layer.strides, "SAME")
    return tf.nn.conv2d(x, tf.cast(kernel * scale, x.dtype), layer.strides, "SAME")
