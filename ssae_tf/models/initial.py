"""Where training starts, measured on training pictures (docs/training.md has the numbers).

Randomly initialised, Table 1 needs hundreds of steps to find out that its answer should resemble
its input: the way leads through twenty layers of normalisation and three poolings. Here one channel
for each colour can be led straight through, so that F(X) begins as a coarse copy of X and training
begins with what is hard. Only initial values are set: every weight is trained, and nothing else of
Table 1 changes.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from ssae_tf.models.blocks import EPSILON, BatchNormalization, DilatedConv2D

_BINOMIAL = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16.0
# With stride 2, every output pixel copies one input pixel, at the borders too.
_NEAREST = np.outer([1, 1, 0], [1, 1, 0]).astype(np.float32)


def measure_statistics(model: tf.keras.Model, x: np.ndarray) -> None:
    """Gives every batch normalisation of a freshly built network the statistics of its input.

    In order, each with those before it in place, so that inference normalises as well as training
    would from the first step on.

    Args:
        model: from `autoencoder`.
        x: clean training pictures, (B, H, W, C) float32 in [0, 1], H and W multiples of 8.
    """
    _set_norms(model, x, carried=0)


def start_as_low_pass(model: tf.keras.Model, x: np.ndarray) -> None:
    """Gives a freshly built network initial values with which F(X) is X blurred and resampled.

    Channels 0 … C − 1 of every layer carry the colours: convolutions copy or blur them, transposed
    ones repeat them, and batch normalisation, whose statistics are measured as by
    `measure_statistics`, gives back the mean and deviation that it takes away. A network with fewer
    channels than colours somewhere gets its statistics only.

    Args:
        model: from `autoencoder`.
        x: clean training pictures, (B, H, W, C) float32 in [0, 1], H and W multiples of 8.
    """
    colours = x.shape[-1]
    carriers = [layer for layer in model.layers if _carries(layer)]
    if any(layer.filters < colours for layer in carriers):
        measure_statistics(model, x)
        return
    for layer in carriers:
        kernel = np.array(layer.kernel)
        _carry(layer, kernel, colours)
        layer.kernel.assign(kernel)
    _set_norms(model, x, carried=colours)

    last = model.layers[-1]
    incoming = tf.keras.Model(model.inputs, last.input)(tf.constant(x), training=False).numpy()
    kernel, bias = np.array(last.kernel), np.array(last.bias)
    wanted = np.clip(x, 0.02, 0.98)
    wanted = np.log(wanted / (1.0 - wanted))
    for k in range(colours):
        slope, offset = _line(incoming[..., k].ravel(), wanted[..., k].ravel())
        kernel[0, 0, :colours, k] = 0.0
        kernel[0, 0, k, k], bias[k] = slope, offset
    last.kernel.assign(kernel)
    last.bias.assign(bias)


def _set_norms(model: tf.keras.Model, x: np.ndarray, carried: int) -> None:
    """Measures all statistics; the first `carried` channels pass unchanged."""
    pictures = tf.constant(x)
    for layer in model.layers:
        if not isinstance(layer, BatchNormalization):
            continue
        incoming = tf.keras.Model(model.inputs, layer.input)(pictures, training=False)
        incoming = tf.cast(incoming, tf.float32)
        mean, variance = (np.asarray(v) for v in tf.nn.moments(incoming, (0, 1, 2)))
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)
        gamma, beta = np.array(layer.gamma), np.array(layer.beta)
        gamma[:carried] = np.sqrt(variance[:carried] + EPSILON)
        beta[:carried] = mean[:carried]
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)


def _carries(layer: tf.keras.layers.Layer) -> bool:
    if isinstance(layer, DilatedConv2D):
        # The branch of rate 1 comes first in the concatenation.
        return layer.rate == 1
    # Keras 3 does not derive the transposed layer from the other.
    convolutions = (tf.keras.layers.Conv2D, tf.keras.layers.Conv2DTranspose)
    return isinstance(layer, convolutions) and layer.kernel_size == (3, 3)


def _carry(layer: tf.keras.layers.Layer, kernel: np.ndarray, colours: int) -> None:
    """Sets the weights of the carrying channels; other channels go on reading them."""
    for k in range(colours):
        if isinstance(layer, tf.keras.layers.Conv2DTranspose):
            # Its kernel is (rows, columns, outputs, inputs).
            kernel[:, :, k, :] = 0.0
            kernel[:, :, k, k] = _NEAREST
            continue
        kernel[..., k] = 0.0
        if layer.name.startswith("encoder") and layer.name.endswith("conv2"):
            # Before pooling: the largest of four is then close to their mean.
            kernel[:, :, k, k] = _BINOMIAL
        else:
            middle = kernel.shape[0] // 2
            kernel[middle, middle, k, k] = 1.0


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the least squares line; a flat one through the mean where x is flat."""
    deviation = x - x.mean()
    spread = float(np.mean(deviation**2))
    slope = float(np.mean(deviation * (y - y.mean()))) / spread if spread > 1e-8 else 0.0
    return slope, float(y.mean()) - slope * float(x.mean())
