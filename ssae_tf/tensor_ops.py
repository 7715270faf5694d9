"""Tensor building blocks shared by corruption and scoring: random draws, Gaussian filter, padding.

Everything here gives the same numbers eagerly, in a tf.data graph and compiled by XLA, with batch
size, height and width known or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# As in scipy.ndimage: a Gaussian kernel ends at this many standard deviations.
TRUNCATE = 4.0
# Pixels that `gaussian_filter` smooths with one product.
_BLOCK = 32
# Share of a pixel that `resize` takes for none.
_UNTOUCHED = 1e-3


def split_seed(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Independent seeds from one.

    Args:
        seed: (2,) int32.
        count: how many.

    Returns:
        `count` tensors (2,) int32.
    """
    bits = tf.random.stateless_uniform(
        (count, 2), seed, minval=None, maxval=None, dtype=tf.int32, alg="philox"
    )
    return tf.unstack(bits, num=count)


def uniform(
    shape: Sequence[int | tf.Tensor] | tf.Tensor,
    seed: tf.Tensor,
    low: float = 0.0,
    high: float = 1.0,
) -> tf.Tensor:
    """Uniform floats on [low, high) to the rounding of float32, bit for bit alike everywhere.

    Made from integer bits, because TensorFlow's float draws differ between eager and XLA.

    Args:
        shape: of the result.
        seed: (2,) int32.
        low, high: the interval.
    """
    bits = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox"
    )
    unit = tf.bitwise.right_shift(tf.bitcast(bits, tf.uint32), tf.constant(8, tf.uint32))
    if low == 0.0:
        # A product alone rounds once everywhere.
        return float(np.float32(high)) * 2.0**-24 * tf.cast(unit, tf.float32)
    # XLA fuses the product and the sum, rounding once where eager rounds twice. In float64 the
    # product of two numbers of 24 bits is exact, so that both round alike.
    step = tf.constant(float(np.float32(high - low)) * 2.0**-24, tf.float64)
    return tf.cast(low + step * tf.cast(unit, tf.float64), tf.float32)


def log_uniform(
    shape: Sequence[int | tf.Tensor] | tf.Tensor, seed: tf.Tensor, low: float, high: float
) -> tf.Tensor:
    """Floats whose logarithm is uniform on [log low, log high), float32; `low` > 0."""
    return tf.exp(uniform(shape, seed, math.log(low), math.log(high)))


def reflect_indices(
    start: tf.Tensor | int, stop: tf.Tensor | int, size: tf.Tensor | int
) -> tf.Tensor:
    """Indices start … stop − 1 folded back into 0 … size − 1.

    Half-sample symmetric (d c b a | a b c d | d c b a), any distance: SciPy's mode "reflect".

    Returns:
        (stop − start,) int32.
    """
    index = tf.range(start, stop)
    # −1 − i mirrors to the same place as i. Nothing negative is divided: in ONNX, integer division
    # rounds towards zero.
    index = tf.math.floormod(tf.maximum(index, -1 - index), 2 * size)
    return tf.minimum(index, 2 * size - 1 - index)


def pad_reflect(x: tf.Tensor, multiple: int, margin: int = 0) -> tf.Tensor:
    """Pads by reflection: a margin all round, and at bottom and right up to the next multiple.

    Args:
        x: (B, H, W, C) float32.
        multiple: of the result's sides.
        margin: pixels, at least 0.

    Returns:
        (B, H', W', C).
    """
    for axis in (1, 2):
        size = _side(x, axis)
        padded = next_multiple(size + 2 * margin, multiple)
        if isinstance(size, int) and padded == size:
            continue
        x = tf.gather(x, reflect_indices(-margin, padded - margin, size), axis=axis)
    return x


def enlarge(x: tf.Tensor, scale: int) -> tf.Tensor:
    """Bilinear enlargement by a whole number, pixel centres in place.

    Args:
        x: (B, H, W, C) float32.
        scale: 1 returns `x`.

    Returns:
        (B, scale · H, scale · W, C) float32, within the range of `x`.
    """
    if scale == 1:
        return x
    return tf.image.resize(x, [scale * _side(x, axis) for axis in (1, 2)])


def resize(x: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor:
    """Resizes pictures as `ssae_tf.data.cache.resize` does, to the rounding of float32.

    Each axis is one matrix product: averages over areas where it shrinks, linear interpolation
    where it grows. No two runtimes agree on how to resize, but all can multiply.

    Args:
        x: (B, H, W, C) float32.
        height, width: of the result, pixels.

    Returns:
        (B, height, width, C) float32.
    """
    shape = tf.shape(x)
    batch, channels = shape[0], x.shape[3]
    rows = _resizing_matrix(shape[1], height)
    x = tf.linalg.matmul(rows, tf.reshape(x, tf.stack([batch, shape[1], shape[2] * channels])))
    x = tf.reshape(x, tf.stack([batch * height, shape[2], channels]))
    x = tf.linalg.matmul(_resizing_matrix(shape[2], width), x)
    return tf.reshape(x, tf.stack([batch, height, width, channels]))


def _resizing_matrix(size: tf.Tensor, target: tf.Tensor | int) -> tf.Tensor:
    """(target, size): row i holds the weights of all pixels in the resized pixel i."""
    index, source = tf.range(target)[:, None], tf.range(size)[None, :]
    # The share of each pixel within i … i + 1 of the resized picture, in units of 1 / target.
    last = tf.minimum((index + 1) * size, (source + 1) * target)
    covered = tf.cast(last - tf.maximum(index * size, source * target), tf.float32)
    # OpenCV leaves out what is hardly touched.
    least = _UNTOUCHED * tf.cast(target, tf.float32)
    averaging = tf.where(covered > least, covered, 0.0) / tf.cast(size, tf.float32)
    scale = tf.cast(size, tf.float32) / tf.cast(target, tf.float32)
    centre = (tf.cast(index, tf.float32) + 0.5) * scale - 0.5
    centre = tf.clip_by_value(centre, 0.0, tf.cast(size - 1, tf.float32))
    linear = tf.maximum(1.0 - tf.abs(centre - tf.cast(source, tf.float32)), 0.0)
    return tf.where(scale > 1.0, averaging, linear)


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
    kernel = gaussian_kernel(sigma)
    taps, radius = len(kernel) + _BLOCK - 1, len(kernel) // 2
    # Column k holds the weights of pixel k of a block. As the channels of a convolution with the
    # block's stride they cost a fraction of one output channel at stride 1.
    blocks = np.zeros((taps, _BLOCK), np.float32)
    for k in range(_BLOCK):
        blocks[k : k + len(kernel), k] = kernel
    height, width, channels = _side(x, 1), _side(x, 2), x.shape[-1]
    planes = tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, height, width, 1))

    rows = next_multiple(height, _BLOCK)
    planes = tf.gather(planes, reflect_indices(-radius, rows + radius, height), axis=1)
    weights = tf.constant(blocks[:, None, None, :])
    planes = tf.nn.conv2d(planes, weights, (1, _BLOCK, 1, 1), "VALID")
    planes = tf.reshape(tf.transpose(planes, (0, 1, 3, 2)), (-1, rows, width, 1))[:, :height]

    columns = next_multiple(width, _BLOCK)
    planes = tf.gather(planes, reflect_indices(-radius, columns + radius, width), axis=2)
    weights = tf.constant(blocks[None, :, None, :])
    planes = tf.nn.conv2d(planes, weights, (1, 1, _BLOCK, 1), "VALID")
    planes = tf.reshape(planes, (-1, height, columns))[:, :, :width]
    return tf.transpose(tf.reshape(planes, (-1, channels, height, width)), (0, 2, 3, 1))


def next_multiple(size: int | tf.Tensor, multiple: int) -> int | tf.Tensor:
    """The size or the multiple after it; nothing negative is divided, as in `reflect_indices`."""
    return (size + multiple - 1) // multiple * multiple


def _side(x: tf.Tensor, axis: int) -> int | tf.Tensor:
    """A side's length, as a number where it is known."""
    return tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]


def gaussian_filter_each(
    x: tf.Tensor, sigma: tf.Tensor, sigma_x: tf.Tensor | None = None
) -> tf.Tensor:
    """Gaussian smoothing with a sigma of its own for every picture of the batch.

    The filter along an axis is one matrix product, borders included, so that sigma may be a tensor
    and no kernel size depends on it.

    Args:
        x: (B, H, W, C) float32.
        sigma: (B,) float32 standard deviations, pixels, above 0.
        sigma_x: those along x where they differ from those along y.

    Returns:
        (B, H, W, C) float32; each picture as `scipy.ndimage.gaussian_filter` gives it while sigma
        is no larger than the picture's shorter side. Beyond, the filter leaves out what lies
        further than four sides away: the result is near the picture's mean all the same.
    """
    # GPUs round the factors of float32 matrix products to 11 bits (TF32) by default, and the same
    # seed must give the same pictures on either device.
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
