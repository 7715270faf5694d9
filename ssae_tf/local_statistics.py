"""Position-wise Gaussians over texture features: a second opinion beside the network's.

A network may repair too little where a defect looks like a surface of its own (a stain with its own
texture, a region ground in another direction). What gives it away is that this place does not look
so in normal pictures: the strength of texture by scale and direction, the brightness, the colour.
Each cell of a grid over the picture has a Gaussian over such numbers in normal pictures, and the
Mahalanobis distance from it says how unusual a picture is there, as Defard et al. (PaDiM, 2021) do
with the activations of a network trained on ImageNet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from ssae_tf.tensor_ops import gaussian_filter, gaussian_kernel, resize

# Every picture is looked at in this size, pixels, and described on this many cells each way.
SIDE = 256
CELLS = 24
# Standard deviations of the Gaussians that scales of texture lie between, pixels of SIDE: each and
# its double.
_SCALES = (0.5, 0.7, 1.0, 1.4, 2.0, 4.0, 8.0, 16.0)
# Over how much of a picture the strength of texture, brightness and colour are averaged: standard
# deviations, cells.
_TEXTURE_POOLS = (0.5, 1.5)
_BRIGHTNESS_POOLS = (0.5, 1.5, 3.0)
_COLOUR_POOL = 0.5
# Added before logarithms: grey levels of [0, 1], and differences of their logarithms.
_DARK, _FAINT = 0.02, 5e-4
# Pictures' worth of trust in every place being like the others.
_PRIOR_PICTURES = 10.0
# Variance that every number has at least, where all normal pictures agree.
_LEAST_VARIANCE = 1e-6
# In units that normal pictures hardly reach: what is farther is beyond doubt all the same.
_MAX_DISTANCE = 4.0
# Of the distances over cells.
_SMOOTHING = 0.75
# Parts that the distances of normal pictures are estimated with, each from the others.
_FOLDS = 4
# Share of normal pictures whose highest values stay below the unit of a map.
_USUAL_SHARE = 0.95


@dataclasses.dataclass(frozen=True)
class LocalStatistics:
    """What normal pictures look like, by place.

    Attributes:
        mean: (CELLS, CELLS, features) float32.
        whitening: (CELLS, CELLS, features, features) float32; a deviation times it has the identity
            for covariance.
        levels: (2,) float32, normalisation constants: the mean distance of normal pictures, and
            what 95 % of them stay below everywhere with their distance above that mean.
    """

    mean: np.ndarray
    whitening: np.ndarray
    levels: np.ndarray

    def combine(self, evidence: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """The anomaly map from both views of a picture.

        Args:
            evidence: the network's, smoothed, (B, H, W) float32, at least 0.
            features: (B, CELLS, CELLS, features) float32, of `local_features`.

        Returns:
            (B, H, W) float32, at least 0: the evidence times (1 + d)², with d how far the distance
            is above the mean of normal pictures, in units that these hardly reach, at most 4. The
            product keeps the outlines of the network's evidence, and finds nothing where it has
            none.
        """
        usual, most_distant = (float(level) for level in self.levels)
        shape = tf.shape(evidence) + _zero(evidence)
        unusual = (self.distance(features) - usual) / most_distant
        unusual = tf.clip_by_value(unusual, 0.0, _MAX_DISTANCE)
        factor = tf.square(1.0 + resize(unusual[..., None], shape[1], shape[2])[..., 0])
        return evidence * factor

    def distance(self, features: tf.Tensor) -> tf.Tensor:
        """The Mahalanobis distance of each place from what is usual there in such a picture.

        Args:
            features: as in `combine`.

        Returns:
            (B, CELLS, CELLS) float32, over the root of the number of features, and smoothed over
            cells.
        """
        count, zero = self.mean.shape[-1], _zero(features)
        deviation = features - _constant(self.mean, zero)
        deviation = tf.reshape(deviation, (-1, CELLS * CELLS, count))
        whitening = _constant(self.whitening.reshape(CELLS * CELLS, count, count), zero)
        white = tf.linalg.matmul(tf.transpose(deviation, (1, 0, 2)), whitening)
        distance = tf.sqrt(tf.reduce_mean(tf.square(white), axis=-1))
        distance = tf.reshape(tf.transpose(distance), (-1, CELLS, CELLS, 1))
        return gaussian_filter(distance, _SMOOTHING)[..., 0]


def local_features(x: tf.Tensor) -> tf.Tensor:
    """What a picture looks like by place.

    All but colour are logarithms, so that a longer exposure moves few of them,
    and those by a constant. The size is fixed, so that filters are matrix products: a few large
    operations, the same in every runtime.

    Args:
        x: X, (B, H, W, C) float32 in [0, 1], C of 1 or 3.

    Returns:
        (B, CELLS, CELLS, features) float32.
    """
    # Planes, (B, C, SIDE, SIDE).
    x = _planes(x)
    grey = _grey(x)
    brightness = tf.math.log(grey + _DARK)
    sigmas = sorted({*_SCALES, *(2.0 * scale for scale in _SCALES)})
    smooth = _smoothed(brightness, sigmas)
    here = tf.gather(smooth, [sigmas.index(scale) for scale in _SCALES], axis=1)
    wide = tf.gather(smooth, [sigmas.index(2.0 * scale) for scale in _SCALES], axis=1)
    texture = [
        0.5 * (here[:, :, 1:-1, 2:] - here[:, :, 1:-1, :-2]),
        0.5 * (here[:, :, 2:, 1:-1] - here[:, :, :-2, 1:-1]),
        (here - wide)[:, :, 1:-1, 1:-1],
    ]
    strength = tf.abs(tf.concat(texture, axis=1))
    parts = [
        *(tf.math.log(_over_cells(strength, pool) + _FAINT) for pool in _TEXTURE_POOLS),
        *(_over_cells(brightness, pool) for pool in _BRIGHTNESS_POOLS),
    ]
    if x.shape[1] == 3:
        colours = tf.math.log(_over_cells(x, _COLOUR_POOL) + _DARK)
        parts += [colours[:, 0:1] - colours[:, 1:2], colours[:, 2:3] - colours[:, 1:2]]
    return tf.transpose(tf.concat(parts, axis=1), (0, 2, 3, 1))


def _planes(x: tf.Tensor) -> tf.Tensor:
    side = SIDE + _zero(x)
    planes = tf.transpose(resize(x, side, side), (0, 3, 1, 2))
    return tf.reshape(planes, (-1, x.shape[-1], SIDE, SIDE))


def _zero(x: tf.Tensor) -> tf.Tensor:
    """0, int32, as something that is only known when x is."""
    return tf.minimum(tf.shape(x)[0], 0)


def _constant(array: np.ndarray, zero: tf.Tensor) -> tf.Tensor:
    """A constant that no converter rounds, float32.

    TFLite's store float constants in 16 or 8 bits. Differences between numbers that go together
    are what a Mahalanobis distance is about, and would be lost. Integers are left alone, and with
    something added that is not known yet they stay integers.

    Args:
        array: any numbers.
        zero: of `_zero`.
    """
    # Of 24 bits or more; 2⁻²⁴ is the least that 16 bits hold.
    exponent = min(24, 30 - int(np.ceil(np.log2(max(float(np.abs(array).max()), 1e-30)))))
    fixed = np.round(np.ldexp(np.asarray(array, np.float64), exponent)).astype(np.int32)
    # NumPy's, made a constant of the caller's graph, as in `gaussian_filter`.
    return tf.cast(tf.constant(fixed) + zero, tf.float32) * np.float32(2.0**-exponent)


def _grey(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(x, axis=1, keepdims=True)


def _smoothed(planes: tf.Tensor, sigmas: Sequence[float]) -> tf.Tensor:
    """Gaussian smoothing of one channel with each of some sigmas, one channel for each."""
    zero = _zero(planes)
    matrices = np.stack([_gaussian_matrix(sigma, SIDE) for sigma in sigmas])
    matrices = _constant(matrices, zero)
    return tf.linalg.matmul(tf.linalg.matmul(matrices, planes), matrices, transpose_b=True)


def _both_ways(matrix: tf.Tensor, planes: tf.Tensor) -> tf.Tensor:
    """The products matrix · plane · matrixᵀ."""
    # The second of plain matrices: of batches with one channel, with a factor in common, oneDNN's
    # crashes on processors with AVX512_BF16 (TensorFlow 2.21).
    return tf.tensordot(tf.linalg.matmul(matrix, planes), tf.transpose(matrix), axes=1)


def _over_cells(planes: tf.Tensor, pool: float = 0.0) -> tf.Tensor:
    """Means over cells, (B, K, CELLS, CELLS), smoothed over neighbouring cells."""
    size = planes.shape[2]
    means = np.zeros((CELLS, size))
    for cell in range(CELLS):
        edges = cell * size / CELLS, (cell + 1) * size / CELLS
        pixels = np.arange(size)
        covered = np.minimum(edges[1], pixels + 1) - np.maximum(edges[0], pixels)
        means[cell] = np.maximum(covered, 0.0) * CELLS / size
    if pool:
        means = _gaussian_matrix(pool, CELLS) @ means
    return _both_ways(_constant(means, _zero(planes)), planes)


def _gaussian_matrix(sigma: float, size: int) -> np.ndarray:
    """`gaussian_filter` along an axis: row i has the weights of all pixels in pixel i."""
    kernel = gaussian_kernel(sigma)
    radius = len(kernel) // 2
    # Each pixel's picture of itself, continued by reflection as `gaussian_filter` does.
    single = np.pad(np.eye(size, dtype=np.float32), ((radius, radius), (0, 0)), mode="symmetric")
    return sum(weight * single[i : i + size] for i, weight in enumerate(kernel))


def fit_local_statistics(features: np.ndarray) -> LocalStatistics:
    """Estimates what is usual from normal pictures.

    The Gaussian of a cell is that of the pictures and of ten more, assumed ones, in which every
    place looks like all others: from few pictures, all places have nearly the same.

    Args:
        features: (N, CELLS, CELLS, features) float32, of at least one picture.
    """
    fitted = _without_levels(features)
    distances = np.concatenate(list(_unseen_distances(features)))
    usual = distances.mean()
    most_distant = np.quantile(distances.max(axis=(1, 2)) - usual, _USUAL_SHARE)
    # Where all normal pictures are the same, rounding is all that tells them apart.
    levels = [usual, max(most_distant, 0.5)]
    return dataclasses.replace(fitted, levels=np.array(levels, np.float32))


def _unseen_distances(features: np.ndarray) -> Iterator[np.ndarray]:
    """Distances of pictures from what is usual in others, (n, CELLS, CELLS) each."""
    part = np.arange(len(features)) % _FOLDS
    for fold in np.unique(part):
        left_out = part == fold
        # A single picture has no others.
        seen = ~left_out if len(features) > 1 else left_out
        yield _without_levels(features[seen]).distance(tf.constant(features[left_out])).numpy()


def _without_levels(features: np.ndarray) -> LocalStatistics:
    """Statistics whose distances are in no unit yet."""
    arrays = (*_gaussians(features), np.ones(2))
    return LocalStatistics(*(np.asarray(array, np.float32) for array in arrays))


def _gaussians(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and whitening matrix of every cell, float64."""
    pictures, count = len(features), features.shape[-1]
    prior = _PRIOR_PICTURES / (pictures + _PRIOR_PICTURES)
    alike = features.mean(axis=(0, 1, 2), dtype=np.float64)
    mean = (1.0 - prior) * features.mean(axis=0, dtype=np.float64) + prior * alike
    covariance = np.empty((CELLS, CELLS, count, count))
    for row in range(CELLS):
        deviation = (features[:, row] - mean[row]).transpose(1, 0, 2)
        covariance[row] = deviation.transpose(0, 2, 1) @ deviation / pictures
    covariance = (1.0 - prior) * covariance + prior * covariance.mean(axis=(0, 1))
    covariance += _LEAST_VARIANCE * np.eye(count)
    return mean, np.linalg.inv(np.linalg.cholesky(covariance)).swapaxes(-1, -2)
