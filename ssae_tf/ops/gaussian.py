"""Gaussian filters, the same eagerly, in a tf.data graph and compiled by XLA."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from ssae_tf.ops.resampling import _side, next_multiple, reflect_indices

# As in scipy.ndimage: a Gaussian kernel ends at this many standard deviations.
TRUNCATE = 4.0


# Pixels that `gaussian_filter` smooths with one product.
_BLOCK = 32


def gaussian_kernel(sigma: float) -> np.ndarray:
    """Normalised samples of a Gaussian, (2r + 1,) float32 with r = round(4 sigma)."""
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    return (kernel / kernel.sum()).astype(np.float32)


def gaussian_filter(x: tf.Tensor, sigma: float) -> tf.Tensor:
    """Gaussian smoothing with one sigma; `scipy.ndimage.gaussian_filter` with its defaults.

    Args:
        x: (B, H, W, C) float32; channels are smoothed each by itself.
        sigma: standard deviation, pixels; 0 returns `x`.

    Returns:
        (B, H, W, C) float32.
    """
    if sigma == 0:
        return x
    # NumPy kernels, made constants inside the caller's graph: converters would turn a captured
    # eager tensor into an input of the exported graph.
    weights, margin = _block_weights(gaussian_kernel(sigma))
    height, width, channels = _side(x, 1), _side(x, 2), x.shape[-1]
    planes = tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, height, width))

    rows = next_multiple(height, _BLOCK)
    planes = tf.gather(planes, reflect_indices(-margin, rows + margin, height), axis=1)
    planes = tf.reshape(planes, (-1, (rows + 2 * margin) // _BLOCK, _BLOCK, width))
    planes = tf.transpose(planes, (0, 1, 3, 2))
    planes = tf.nn.conv2d(planes, tf.constant(weights[:, None]), 1, "VALID")
    planes = tf.reshape(tf.transpose(planes, (0, 1, 3, 2)), (-1, rows, width))[:, :height]

    columns = next_multiple(width, _BLOCK)
    planes = tf.gather(planes, reflect_indices(-margin, columns + margin, width), axis=2)
    planes = tf.reshape(planes, (-1, height, (columns + 2 * margin) // _BLOCK, _BLOCK))
    planes = tf.nn.conv2d(planes, tf.constant(weights[None]), 1, "VALID")
    planes = tf.reshape(planes, (-1, channels, height, columns))[..., :width]
    return tf.transpose(planes, (0, 2, 3, 1))


def _block_weights(kernel: np.ndarray) -> tuple[np.ndarray, int]:
    """A kernel for lines whose pixels are cut into blocks, the pixels of a block as channels.

    Smoothing one is a convolution over blocks with few taps. As one over pixels, with a tap for
    each of the kernel's and the stride of a block, oneDNN ends the process at large images
    (TensorFlow 2.21: "Check failed: dtype() == expected_dtype", at 4096² from sigma 8 on).

    Args:
        kernel: (2r + 1,).

    Returns:
        (taps, B, B) weights from pixels of a block to pixels of another, and the pixels that a
        line needs at either end: whole blocks.
    """
    radius = len(kernel) // 2
    margin = next_multiple(radius, _BLOCK)
    weights = np.zeros((2 * margin + _BLOCK, _BLOCK), np.float32)
    for pixel in range(_BLOCK):
        first = margin - radius + pixel
        weights[first : first + len(kernel), pixel] = kernel
    return weights.reshape(-1, _BLOCK, _BLOCK), margin


def gaussian_filter_each(
    x: tf.Tensor, sigma: tf.Tensor, sigma_x: tf.Tensor | None = None
) -> tf.Tensor:
    """Gaussian smoothing with a sigma of its own for every image of the batch.

    The filter along an axis is one matrix product, borders included, so that sigma may be a tensor
    and no kernel size depends on it.

    Args:
        x: (B, H, W, C) float32.
        sigma: (B,) float32 standard deviations, pixels, above 0.
        sigma_x: those along x where they differ from those along y.

    Returns:
        (B, H, W, C) float32; each image as `scipy.ndimage.gaussian_filter` gives it while sigma
        is no larger than the image's shorter side. Beyond, the filter leaves out what lies
        further than four sides away: the result is near the image's mean all the same.
    """
    # GPUs round the factors of float32 matrix products to 11 bits (TF32) by default, and the same
    # seed must give the same images on either device.
    precise = tf.float64 if tf.config.list_physical_devices("GPU") else tf.float32
    rows = tf.cast(_smoothing_matrix(tf.shape(x)[1], sigma), precise)
    along_x = sigma if sigma_x is None else sigma_x
    columns = tf.cast(_smoothing_matrix(tf.shape(x)[2], along_x), precise)
    planes = tf.transpose(tf.cast(x, precise), (0, 3, 1, 2))
    planes = tf.linalg.matmul(rows[:, None], planes)
    planes = tf.linalg.matmul(planes, columns[:, None], transpose_b=True)
    return tf.cast(tf.transpose(planes, (0, 2, 3, 1)), tf.float32)


def _smoothing_matrix(size: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """(B, size, size): row i holds the weights of all pixels in the smoothed pixel i."""
    sigma = sigma[:, None, None]
    radius = tf.floor(TRUNCATE * sigma + 0.5)
    # Pixel j and its mirror images lie at j + 2kn and −1 − j + 2kn: what counts is the distance
    # modulo 2n. Weights of all images at a distance are summed up; with |k| ≤ 2 that is every one
    # within reach while the radius is at most four sides n.
    period = 2 * size
    distance = tf.range(period)[None, :] + (tf.range(-2, 3) * period)[:, None]
    distance = tf.cast(distance, tf.float32)
    weight = tf.exp(-0.5 * tf.square(distance / sigma))
    folded = tf.reduce_sum(tf.where(tf.abs(distance) <= radius, weight, 0.0), axis=1)
    folded /= tf.reduce_sum(folded, axis=1, keepdims=True)
    # Row i of the first matrix holds the weights at j − i, of the second those at −1 − j − i.
    straight = _each_row_shifted(folded, size, 1)
    return straight + _each_row_shifted(folded[:, ::-1], size, -1)


def _each_row_shifted(values: tf.Tensor, size: tf.Tensor, step: int) -> tf.Tensor:
    """(B, size, size): row i begins with the value at −i · step of a row that repeats.

    A view of the row, written one after the other, in lines that are shorter or longer by one.

    Args:
        values: (B, period), the period at least `size`.
        size: of the result.
        step: 1 or −1.
    """
    batch, period = tf.unstack(tf.shape(values))
    line = period - step
    repeated = tf.tile(values, (1, size + 1))[:, : size * line]
    return tf.reshape(repeated, (batch, size, line))[:, :, :size]
