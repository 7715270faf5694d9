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

from ssae_tf.models.autoencoder import DILATION_RATES
from ssae_tf.models.blocks import EPSILON, BatchNormalization, DilatedConv2D

_BINOMIAL = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16.0
# Of the random initial values, in layers that begin as identities.
_RANDOM_SHARE = 0.3
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
    _set_norms(model, x, {})


def start_as_low_pass(model: tf.keras.Model, x: np.ndarray) -> None:
    """Gives a freshly built network initial values with which F(X) is X blurred and resampled.

    Layers that need not change the number of channels begin as identities with a little of their
    random values added: the second convolution of each level, the SDC blocks and the convolution
    after them. Elsewhere channels 0 … C − 1 carry the colours, copied, blurred before pooling, and
    repeated by transposed convolutions. Batch normalisation, whose statistics are measured as by
    `measure_statistics`, gives carried channels back the mean and deviation that it takes away. A
    network with fewer channels than colours somewhere gets its statistics only.

    Args:
        model: from `autoencoder`.
        x: clean training pictures, (B, H, W, C) float32 in [0, 1], H and W multiples of 8.
    """
    colours = x.shape[-1]
    layers = [layer for layer in model.layers if _is_spatial(layer)]
    if any(layer.filters < colours for layer in layers):
        measure_statistics(model, x)
        return
    carried = {}
    for layer in layers:
        kernel = np.asarray(layer.kernel).copy()
        carried[layer.name] = _carry(layer, kernel, colours)
        layer.kernel.assign(kernel)
    _set_norms(model, x, carried)

    last = model.get_layer("reconstruction")
    if model.layers[-1] is not last:
        # The picture itself goes round the network, which begins with no change to it.
        return
    incoming = tf.keras.Model(model.input, last.input)(tf.constant(x), training=False).numpy()
    kernel, bias = np.asarray(last.kernel).copy(), np.asarray(last.bias).copy()
    wanted = np.clip(x, 0.02, 0.98)
    wanted = np.log(wanted / (1.0 - wanted))
    for k in range(colours):
        slope, offset = _line(incoming[..., k].ravel(), wanted[..., k].ravel())
        kernel[0, 0, :colours, k] = 0.0
        kernel[0, 0, k, k], bias[k] = slope, offset
    last.kernel.assign(kernel)
    last.bias.assign(bias)


def _set_norms(model: tf.keras.Model, x: np.ndarray, carried: dict[str, list[int]]) -> None:
    """Measures all statistics; channels carried by the layers before pass unchanged."""
    pictures = tf.constant(x)
    for layer in model.layers:
        if not isinstance(layer, BatchNormalization):
            continue
        incoming = tf.keras.Model(model.input, layer.input)(pictures, training=False)
        incoming = tf.cast(incoming, tf.float32)
        mean, variance = (np.asarray(v) for v in tf.nn.moments(incoming, (0, 1, 2)))
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)
        gamma, beta = np.asarray(layer.gamma).copy(), np.asarray(layer.beta).copy()
        unchanged = _channels_before(layer.name.removesuffix("_norm"), carried)
        gamma[unchanged] = np.sqrt(variance[unchanged] + EPSILON)
        beta[unchanged] = mean[unchanged]
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)


def _channels_before(name: str, carried: dict[str, list[int]]) -> list[int]:
    """Carried channels of the layer, or of the joined branches, that a normalisation follows."""
    if name in carried:
        return carried[name]
    channels = []
    for rate in DILATION_RATES:
        channels += carried.get(f"{name}_rate{rate}", [])
    return channels


def _is_spatial(layer: tf.keras.layers.Layer) -> bool:
    # Keras 3 does not derive the transposed layer from the other.
    convolutions = (tf.keras.layers.Conv2D, tf.keras.layers.Conv2DTranspose)
    return isinstance(layer, DilatedConv2D) or (
        isinstance(layer, convolutions) and layer.kernel_size == (3, 3)
    )


def _carry(layer: tf.keras.layers.Layer, kernel: np.ndarray, colours: int) -> list[int]:
    """Sets the weights of the carrying channels.

    Returns:
        The channels that leave as they came; those of an SDC block counted over all branches.
    """
    if isinstance(layer, tf.keras.layers.Conv2DTranspose):
        # Its kernel is (rows, columns, outputs, inputs).
        for k in range(colours):
            kernel[:, :, k, :] = 0.0
            kernel[:, :, k, k] = _NEAREST
        return list(range(colours))
    middle, inputs = kernel.shape[0] // 2, kernel.shape[2]
    blurs = layer.name.startswith("encoder") and layer.name.endswith("conv2")
    narrows = layer.name.startswith("decoder") and layer.name.endswith("conv2")
    widens = layer.name.startswith("encoder") and layer.name.endswith("conv1")
    first, count = 0, colours if narrows or widens else min(layer.filters, inputs)
    if isinstance(layer, DilatedConv2D):
        # The branches join in the order of their rates: together they pass all channels on.
        first = DILATION_RATES.index(layer.rate) * layer.filters
        count = max(0, min(layer.filters, inputs - first))
    for k in range(count):
        kernel[..., k] *= 0.0 if first + k < colours else _RANDOM_SHARE
        if blurs and k < colours:
            # Before pooling: the largest of four is then close to their mean.
            kernel[:, :, first + k, k] = _BINOMIAL
        else:
            kernel[middle, middle, first + k, k] += 1.0
    return list(range(first, first + count))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the least squares line; a flat one through the mean where x is flat."""
    deviation = x - x.mean()
    spread = float(np.mean(deviation**2))
    slope = float(np.mean(deviation * (y - y.mean()))) / spread if spread > 1e-8 else 0.0
    return slope, float(y.mean()) - slope * float(x.mean())
