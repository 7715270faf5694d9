"""What is usual at each place of a picture (docs/training.md has what it brings).

A residual shows where a network repaired something. Where a defect looks like a surface of its own
(a stain with its own texture, a region ground in another direction), there is nothing to repair
inside it. What gives it away is that this place does not look so in normal pictures: the strength
of texture by scale and direction, the brightness, the colour, and how the network errs there. Each
cell of a grid over the picture has a Gaussian over such numbers in normal pictures, and the
Mahalanobis distance from it says how unusual a picture is there, as Defard et al. (PaDiM, 2021) do
with the activations of a network trained on ImageNet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ssae_tf.tensor_ops import gaussian_filter, resize

# Every picture is looked at in this size, pixels, and described on this many cells each way.
SIDE = 256
CELLS = 24
# Standard deviations of the Gaussians that scales of texture lie between, pixels of SIDE: each and
# its double.
_SCALES = (0.5, 0.7, 1.0, 1.4, 2.0, 4.0, 8.0, 16.0)
# The same for F(X) − X, and for what of it keeps its sign.
_ERROR_SCALES = (1.0, 2.0, 4.0)
_SIGNED_SCALES = (2.0, 6.0)
# Over how much of a picture the strength of texture, of errors, brightness and colour are averaged:
# standard deviations, cells; 0 is the cell alone.
_TEXTURE_POOLS = (0.5, 1.5)
_ERROR_POOLS = (0.0, 0.5)
_BRIGHTNESS_POOLS = (0.5, 1.5, 3.0)
_COLOUR_POOLS = (0.5, 1.5)
# How brightness adapts, pixels of SIDE.
_SURROUNDINGS = 8.0
# Added before logarithms: grey levels of [0, 1], differences of their logarithms, and shares.
_DARK, _FAINT, _SLIGHT = 0.02, 5e-4, 1e-2
# Pictures' worth of trust in every place being like the others.
_PRIOR_PICTURES = 10.0
# Variance that every number has at least, where all normal pictures agree.
_LEAST_VARIANCE = 1e-6
# Of the distances over cells.
_SMOOTHING = 0.75
# Parts that the distances of normal pictures are estimated with, each from the others.
_FOLDS = 4
# What the residual counts beside the distance.
_RESIDUAL_SHARE = 0.5
# Share of normal pictures whose highest values stay below the unit of a map.
_USUAL_SHARE = 0.95


@dataclass(frozen=True)
class LocalStatistics:
    """What normal pictures look like, by place.

    Attributes:
        mean: (CELLS, CELLS, features) float32.
        whitening: (CELLS, CELLS, features, features) float32; a deviation times it has the identity
            for covariance.
        levels: (3,) float32, of normal pictures: the mean distance, and what 95 % of them stay
            below everywhere, with the distance above that mean and with the residual.
    """

    mean: np.ndarray
    whitening: np.ndarray
    levels: np.ndarray

    def combine(self, residual: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """The anomaly map from both views of a picture.

        Args:
            residual: the smoothed residual, (B, H, W) float32, at least 0.
            features: (B, CELLS, CELLS, features) float32, of `local_features`.

        Returns:
            (B, H, W) float32, at least 0: log(1 + d) + r / 2, with d how far the distance is above
            the usual one and r the residual, both in units that normal pictures hardly reach.
        """
        usual, most_distant, most_residual = (float(level) for level in self.levels)
        shape = tf.shape(residual)
        unusual = tf.nn.relu(self.distance(features) - usual) / most_distant
        # The cells are coarse: beyond doubt, the residual draws the outline.
        unusual = resize(tf.math.log1p(unusual)[..., None], shape[1], shape[2])[..., 0]
        return unusual + _RESIDUAL_SHARE / most_residual * residual

    def distance(self, features: tf.Tensor) -> tf.Tensor:
        """The Mahalanobis distance of each place, over the root of the number of features.

        Args:
            features: as in `combine`.

        Returns:
            (B, CELLS, CELLS) float32, smoothed over cells.
        """
        count = self.mean.shape[-1]
        # Constants of the caller's graph, as in `gaussian_filter`.
        deviation = tf.reshape(features - tf.constant(self.mean), (-1, CELLS * CELLS, count))
        whitening = tf.constant(self.whitening.reshape(CELLS * CELLS, count, count))
        white = tf.linalg.matmul(tf.transpose(deviation, (1, 0, 2)), whitening)
        distance = tf.sqrt(tf.reduce_mean(tf.square(white), axis=-1))
        distance = tf.reshape(tf.transpose(distance), (-1, CELLS, CELLS, 1))
        return gaussian_filter(distance, _SMOOTHING)[..., 0]


def local_features(x: tf.Tensor, reconstruction: tf.Tensor) -> tf.Tensor:
    """What a picture looks like by place.

    All but colour and the signed error are logarithms, so that they do not depend on exposure but
    by a constant.

    Args:
        x: X, (B, H, W, C) float32 in [0, 1], C of 1 or 3.
        reconstruction: F(X), like X.

    Returns:
        (B, CELLS, CELLS, features) float32.
    """
    x, reconstruction = resize(x, SIDE, SIDE), resize(reconstruction, SIDE, SIDE)
    grey = _grey(x)
    brightness = tf.math.log(grey + _DARK)
    smooth = {
        sigma: gaussian_filter(brightness, sigma)
        for sigma in sorted({*_SCALES, *(2.0 * scale for scale in _SCALES)})
    }
    texture = []
    for scale in _SCALES:
        here = smooth[scale]
        texture += [
            0.5 * (here[:, 1:-1, 2:] - here[:, 1:-1, :-2]),
            0.5 * (here[:, 2:, 1:-1] - here[:, :-2, 1:-1]),
            (here - smooth[2.0 * scale])[:, 1:-1, 1:-1],
        ]
    strength = _over_cells(*(tf.abs(one) for one in texture))
    error = (reconstruction - x) / (gaussian_filter(grey, _SURROUNDINGS) + _DARK)
    errors = _over_cells(*(_grey(tf.abs(gaussian_filter(error, scale))) for scale in _ERROR_SCALES))
    error = _grey(error)
    signed = _over_cells(*(gaussian_filter(error, scale) for scale in _SIGNED_SCALES))
    brightness = _over_cells(brightness)
    parts = [
        *(tf.math.log(gaussian_filter(strength, pool) + _FAINT) for pool in _TEXTURE_POOLS),
        *(tf.math.log(gaussian_filter(errors, pool) + _SLIGHT) for pool in _ERROR_POOLS),
        signed,
        *(gaussian_filter(brightness, pool) for pool in _BRIGHTNESS_POOLS),
    ]
    if x.shape[-1] == 3:
        red, green, blue = tf.split(tf.math.log(_over_cells(x) + _DARK), 3, axis=-1)
        colour = tf.concat([red - green, blue - green], axis=-1)
        parts += [gaussian_filter(colour, pool) for pool in _COLOUR_POOLS]
    return tf.concat(parts, axis=-1)


def _grey(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(x, axis=-1, keepdims=True)


def _over_cells(*planes: tf.Tensor) -> tf.Tensor:
    """Means over cells, of all channels."""
    return resize(tf.concat(planes, axis=-1), CELLS, CELLS)


def fit_local_statistics(features: np.ndarray, residuals: list[np.ndarray]) -> LocalStatistics:
    """Estimates what is usual from normal pictures.

    The Gaussian of a cell is that of the pictures and of ten more, assumed ones, in which every
    place looks like all others: from few pictures, all places have nearly the same.

    Args:
        features: (N, CELLS, CELLS, features) float32, of at least one picture.
        residuals: the smoothed residuals of at least one normal picture, (H, W) float32 each.
    """
    mean, whitening = _gaussians(features)
    distances = np.concatenate(list(_unseen_distances(features)))
    usual = distances.mean()
    most_distant = np.quantile(distances.max(axis=(1, 2)) - usual, _USUAL_SHARE)
    most_residual = np.quantile([map_.max() for map_ in residuals], _USUAL_SHARE)
    # Nothing is divided by 0 where the network reproduces all there is.
    levels = [usual, max(most_distant, 0.1), max(most_residual, 1e-6)]
    return LocalStatistics(mean, whitening, np.array(levels, np.float32))


def _unseen_distances(features: np.ndarray) -> Iterator[np.ndarray]:
    """Distances of pictures from what is usual in others, (n, CELLS, CELLS) each."""
    folds = min(_FOLDS, len(features))
    for fold in range(folds):
        seen = np.arange(len(features)) % folds != fold
        # A single picture has no others.
        mean, whitening = _gaussians(features[seen] if folds > 1 else features)
        unseen = LocalStatistics(mean, whitening, np.ones(3, np.float32))
        left_out = features[~seen] if folds > 1 else features
        yield unseen.distance(tf.constant(left_out)).numpy()


def _gaussians(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and whitening matrix of every cell."""
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
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).swapaxes(-1, -2)
    return mean.astype(np.float32), whitening.astype(np.float32)
