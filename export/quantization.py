"""Makes a network fit for 8 bits, before it is rounded.

Every weight becomes the nearest of 255 steps of its output channel, and every activation one of 256
steps of its whole tensor. Table 1 loses more by that than a defect's residual is high: its kernels
hold a few large weights that lead colours through and many small ones, and its channels have very
different ranges. Two changes, neither of which a converter needs to know of, take most of that loss
away:

- equalization (Nagel et al., arXiv 1906.04721): a channel may be divided by its range, and the next
  layer's weights be multiplied by it, because neither a ReLU nor a maximum minds;
- rounding one weight after the other, each time changing those that are left so that they make up
  for the error on real inputs (Frantar et al., arXiv 2210.17323), and moving each bias by what is
  left of the mean error. The weights then lie on the steps that the converters round to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf.export.network import LAST_LAYER, Dilated, sources
from ssae_tf.models.graph import inbound, inputs_of

_CONVOLUTIONS = (tf.keras.layers.Conv2D, tf.keras.layers.Conv2DTranspose, Dilated)
# Of a signed 8-bit weight, in steps of its output channel.
_STEPS = 127
# Of a channel's effect on the layers behind it at its range, as a share of the largest one.
_LEAST = 0.2
# Inputs of a convolution that its rounding is fitted to, for each of its weights, and at least.
_SAMPLES, _FEWEST = 2, 4096
# Added to the diagonal of their second moments, as a share of its mean.
_DAMPING = 0.01
# Columns that are rounded between two updates of all others.
_BLOCK = 128


def equalize(network: tf.keras.Model, pictures: Iterable[np.ndarray]) -> dict[str, float]:
    """Gives all channels behind a ReLU the same range, and the network the same answers.

    Args:
        network: changed in place.
        pictures: what it sees in inspection, (h, w, C) float32 each, h and w multiples of 8: whole
            ones, and many, since what is rare decides the ranges. The largest value of every
            channel becomes 1 on them, or less where little depends on the channel: such a one may
            be stored coarsely, and on other pictures its values may be larger without making the
            steps of all others coarser.

    Returns:
        The highest output of each ReLU on the pictures, by its name.
    """
    inner = [layer for layer in network.layers if isinstance(layer, tf.keras.layers.ReLU)]
    if not inner:
        return {}
    probe = tf.keras.Model(network.input, [layer.output for layer in inner])

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec((None, None, None, network.input.shape[-1]), tf.float32)],
    )
    def highest(x: tf.Tensor) -> list[tf.Tensor]:
        # In one graph, which keeps no output longer than it needs it.
        outputs = probe(x, training=False)
        # Of one output Keras makes no list.
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return [tf.reduce_max(output, axis=(0, 1, 2)) for output in outputs]

    largest = [np.zeros(layer.output.shape[-1]) for layer in inner]
    for picture in pictures:
        for values, found in zip(largest, highest(tf.constant(picture[None])), strict=True):
            np.maximum(values, found, out=values)
    ends = {}
    for layer, values in zip(inner, largest, strict=True):
        ends[layer.name] = float(values.max())
        before, after = sources(layer), readers(network, layer)
        if not all(isinstance(one, _CONVOLUTIONS) for one in (*before, *after)):
            continue
        effect = np.sqrt(sum(np.square(_weights(one)[0]).sum(axis=(0, 1, 3)) for one in after))
        effect = np.maximum(effect, 1e-12)
        scales = np.maximum(values, _LEAST * np.max(effect * values) / effect)
        scales = np.where(scales > 0.0, scales, 1.0)
        ends[layer.name] = float((values / scales).max())
        for source, part in zip(before, np.split(scales, _ends(before)), strict=True):
            kernel, bias = _weights(source)
            _set(source, kernel / part, bias / part)
        for reader in after:
            kernel, bias = _weights(reader)
            _set(reader, kernel * scales[:, None], bias)
    return ends


def round_weights(network: tf.keras.Model, crops: np.ndarray, seed: int = 0) -> None:
    """Rounds the kernels to 8 bits, so that the answers change as little as they can.

    Every output channel has its own step, a 127th of its largest weight, which keeps its value. The
    last layer, which stays in float everywhere, is left alone.

    Args:
        network: changed in place.
        crops: of what it sees in inspection, (N, h, w, C) float32, h and w multiples of 8.
        seed: of which of their pixels the rounding is fitted to.
    """
    rng = np.random.default_rng(seed)
    exact: dict[str, tf.Tensor] = {}
    rounded: dict[str, tf.Tensor] = {}
    computed = [one for one in network.layers if not isinstance(one, tf.keras.layers.InputLayer)]
    last_reader = {source.name: layer.name for layer in computed for source in inbound(layer)}
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.InputLayer):
            exact[layer.name] = rounded[layer.name] = tf.constant(crops)
            continue
        wanted, given = layer(inputs_of(layer, exact)), inputs_of(layer, rounded)
        if isinstance(layer, _CONVOLUTIONS) and layer.name != LAST_LAYER.strip("/"):
            kernel, bias = _weights(layer)
            kernel = _rounded(layer, kernel, given, rng)
            _set(layer, kernel, bias)
            answer = layer(given)
            error = tf.reduce_mean(wanted - answer, axis=(0, 1, 2))
            _set(layer, kernel, bias + error.numpy())
            answer += error
        else:
            answer = layer(given)
        exact[layer.name], rounded[layer.name] = wanted, answer
        # All outputs at once are gigabytes.
        for name in [name for name in exact if last_reader.get(name) == layer.name]:
            del exact[name], rounded[name]


def _rounded(
    layer: Any, kernel: np.ndarray, given: tf.Tensor, rng: np.random.Generator
) -> np.ndarray:
    if isinstance(layer, tf.keras.layers.Conv2DTranspose):
        # Each of its outputs reads another part of the kernel.
        step = np.maximum(np.abs(kernel).max(axis=(0, 1, 2)), 1e-12) / _STEPS
        return np.round(kernel / step) * step
    side = kernel.shape[0]
    rate = getattr(layer, "rate", 1)
    flat = kernel.reshape(-1, kernel.shape[-1])
    samples = max(_FEWEST, _SAMPLES * len(flat)) // len(given) + 1
    inputs = []
    for one in given:
        patches = tf.image.extract_patches(
            one[None], (1, side, side, 1), (1, 1, 1, 1), (1, rate, rate, 1), "SAME"
        )
        patches = patches.numpy().reshape(-1, len(flat))
        inputs.append(rng.permutation(patches)[:samples])
    return rounded_matrix(flat, np.concatenate(inputs)).reshape(kernel.shape)


def rounded_matrix(matrix: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Rounds a matrix so that its products with some inputs change little.

    Args:
        matrix: (n, m); the step of a column is a 127th of its largest absolute value.
        inputs: (samples, n).

    Returns:
        Like `matrix`, whole steps everywhere, and its largest values unchanged.
    """
    inputs = inputs.astype(np.float64)
    moments = inputs.T @ inputs / len(inputs)
    diagonal = np.diag(moments)
    moments[np.diag_indices_from(moments)] += _DAMPING * max(float(diagonal.mean()), 1e-12)
    # What matters most first, while there is most left to make up for it.
    order = np.argsort(-diagonal, kind="stable")
    # Row i: how an error in i is made up for by those that come later.
    inverse = np.linalg.inv(moments[np.ix_(order, order)])
    factors = np.linalg.cholesky((inverse + inverse.T) / 2.0).T
    left = matrix[order].astype(np.float64)
    step = np.maximum(np.abs(left).max(axis=0), 1e-12) / _STEPS
    # The converters take the step from the largest weight: it must stay what it is.
    fixed = np.abs(left) >= _STEPS * step * (1.0 - 1e-9)
    steps = np.where(fixed, np.sign(left) * _STEPS, 0.0)
    for first in range(0, len(left), _BLOCK):
        last = min(first + _BLOCK, len(left))
        errors = np.zeros((last - first, left.shape[1]))
        for i in range(first, last):
            nearest = np.clip(np.round(left[i] / step), -_STEPS, _STEPS)
            steps[i] = np.where(fixed[i], steps[i], nearest)
            errors[i - first] = (left[i] - steps[i] * step) / factors[i, i]
            left[i + 1 : last] -= np.outer(factors[i, i + 1 : last], errors[i - first])
        left[last:] -= factors[first:last, last:].T @ errors
    result = np.empty_like(left)
    result[order] = steps * step
    return result


def readers(network: tf.keras.Model, layer: Any) -> list[Any]:
    """The layers that get a layer's output, behind a pooling those behind it."""
    found = []
    for other in network.layers:
        if not isinstance(other, tf.keras.layers.InputLayer) and layer in inbound(other):
            is_pool = isinstance(other, tf.keras.layers.MaxPooling2D)
            found += readers(network, other) if is_pool else [other]
    return found


def _ends(layers: list[Any]) -> list[int]:
    """Where the channels of each of several layers end when they are joined, but for the last."""
    return np.cumsum([layer.filters for layer in layers])[:-1].tolist()


def _weights(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """The kernel, (h, w, inputs, outputs), and the bias, in float64."""
    kernel, bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
    is_transposed = isinstance(layer, tf.keras.layers.Conv2DTranspose)
    return (kernel.swapaxes(2, 3) if is_transposed else kernel), bias


def _set(layer: Any, kernel: np.ndarray, bias: np.ndarray) -> None:
    if isinstance(layer, tf.keras.layers.Conv2DTranspose):
        kernel = kernel.swapaxes(2, 3)
    layer.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
