"""What is usual at each place, against NumPy, SciPy and OpenCV, and by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.local_statistics import (
    CELLS,
    SIDE,
    LocalStatistics,
    fit_local_statistics,
    local_features,
)


def features_of(picture):
    """One picture's features by another road: float64, SciPy's filters, OpenCV's resizing."""

    def smooth(plane, sigma):
        return ndimage.gaussian_filter(plane, sigma) if sigma else plane

    def cells(plane):
        return cv2.resize(plane, (CELLS, CELLS), interpolation=cv2.INTER_AREA)

    x = picture.astype(np.float64)
    grey = x.mean(axis=-1)
    brightness = np.log(grey + 0.02)
    texture = []
    for scale in (0.5, 0.7, 1.0, 1.4, 2.0, 4.0, 8.0, 16.0):
        here = smooth(brightness, scale)
        rows, columns = np.gradient(here)
        band = here - smooth(brightness, 2 * scale)
        texture += [cells(np.abs(one[1:-1, 1:-1])) for one in (columns, rows, band)]

    texture = [texture[index] for kind in range(3) for index in range(kind, 24, 3)]
    found = [np.log(smooth(plane, pool) + 5e-4) for pool in (0.5, 1.5) for plane in texture]
    found += [smooth(cells(brightness), pool) for pool in (0.5, 1.5, 3.0)]
    if x.shape[-1] == 3:
        red, green, blue = (np.log(smooth(cells(x[..., c]), 0.5) + 0.02) for c in range(3))
        found += [red - green, blue - green]
    return np.stack(found, axis=-1)


def surface(rng, height=SIDE, width=SIDE, channels=3):
    """Smooth noise over a gradient."""
    noise = ndimage.gaussian_filter(rng.normal(size=(height, width, channels)), (2, 1, 0))
    return np.clip(0.5 + 0.5 * noise + np.linspace(-0.2, 0.2, width)[:, None], 0, 1).astype(
        np.float32
    )


class TestFeatures:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_against_another_road(self, rng, channels):
        pictures = np.stack([surface(rng, channels=channels) for _ in range(2)])
        found = local_features(tf.constant(pictures)).numpy()
        expected = [features_of(one) for one in pictures]
        np.testing.assert_allclose(found, expected, atol=1e-3)

    def test_of_any_size_in_one_graph(self, rng):
        specification = tf.TensorSpec((None, None, None, 3), tf.float32)
        graph = tf.function(local_features, input_signature=[specification])
        for size in [(1, 1), (7, 300), (64, 64)]:
            found = graph(tf.constant(rng.random((2, *size, 3), np.float32)))
            assert found.shape[1:3] == (CELLS, CELLS)
            assert np.isfinite(found).all()

    def test_exposure_only_moves_brightness(self, rng):
        bright = 0.5 + 0.5 * surface(rng)
        dark, bright = (tf.constant(one[None]) for one in (0.5 * bright, bright))
        # What the logarithm is kept away from 0 by is the rest.
        difference = np.abs(local_features(dark) - local_features(bright))[0]
        brightness = slice(48, 48 + 3)
        assert difference[..., brightness].min() > 0.6
        difference[..., brightness] = 0
        assert difference.max() < 0.05


def normal_features(rng, pictures, covariance, mean=0.0):
    count = len(covariance)
    shape = (pictures, CELLS, CELLS)
    return rng.multivariate_normal(np.full(count, mean), covariance, shape).astype(np.float32)


class TestFit:
    def test_distance_is_that_of_mahalanobis(self, rng):
        covariance = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 0.01]])
        features = normal_features(rng, 4000, covariance, mean=2.0)
        statistics = fit_local_statistics(features)
        # As far everywhere, so that smoothing over cells changes nothing, and to either side in
        # turn, so that the picture as a whole is usual.
        sides = (-1.0) ** np.add.outer(np.arange(CELLS), np.arange(CELLS))[..., None]
        for deviation in ([1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 0.3]):
            deviation = np.array(deviation)
            x = (deviation * sides + 2.0)[None].astype(np.float32)
            expected = np.sqrt(deviation @ np.linalg.inv(covariance) @ deviation / 3)
            found = statistics.distance(tf.constant(x)).numpy()
            assert np.median(found) == pytest.approx(expected, rel=0.05)

    def test_every_place_has_its_own(self, rng):
        features = normal_features(rng, 400, np.eye(2))
        features[:, :, CELLS // 2 :, 0] += 10.0
        statistics = fit_local_statistics(features)
        usual = statistics.distance(tf.constant(features[:50])).numpy()
        moved = statistics.distance(tf.constant(features[:50, :, ::-1])).numpy()
        assert usual.mean() == pytest.approx(1.0, abs=0.15)
        assert moved.min() > usual.max()

    def test_a_single_picture_by_hand(self):
        """One half 0, one half 1: a mean of 0.5, a variance of its own for each half."""
        features = np.zeros((1, CELLS, CELLS, 1), np.float32)
        features[:, CELLS // 2 :] = 1.0
        statistics = fit_local_statistics(features)
        mean = np.where(features[0] > 0, (1 + 10 * 0.5) / 11, 10 * 0.5 / 11)
        np.testing.assert_allclose(statistics.mean, mean, rtol=1e-6)
        # Deviations are 5 / 11 everywhere.
        whitening = ((5 / 11) ** 2 + 1e-6) ** -0.5
        np.testing.assert_allclose(statistics.whitening, whitening, rtol=1e-5)

    @pytest.mark.parametrize("pictures", [1, 2, 3, 9])
    def test_of_flat_pictures(self, pictures):
        x = tf.fill((pictures, 32, 32, 3), 0.5)
        statistics = fit_local_statistics(local_features(x).numpy())
        for array in vars(statistics).values():
            assert np.isfinite(array).all()
        stained = np.full((1, 32, 32, 3), 0.5, np.float32)
        stained[:, 16:] = 0.6
        found = [
            statistics.combine(tf.ones((1, 32, 32)), local_features(tf.constant(one)))
            for one in (x[:1], stained)
        ]
        assert np.max(found[0]) < 2.0
        assert np.max(found[1]) > 20.0

    def test_levels_are_those_of_unseen_pictures(self, rng):
        """With as many numbers as pictures, those that were fitted lie nearer than others do."""
        features = normal_features(rng, 32, np.eye(24))
        statistics = fit_local_statistics(features)
        unseen = statistics.distance(tf.constant(normal_features(rng, 32, np.eye(24)))).numpy()
        seen = statistics.distance(tf.constant(features)).numpy()
        assert seen.mean() < 0.9 * unseen.mean()
        assert statistics.levels[0] == pytest.approx(unseen.mean(), rel=0.1)

    def test_levels_by_hand(self):
        """Two pictures, of 0 and of 1 everywhere: each is as far from the other as can be."""
        features = np.zeros((2, CELLS, CELLS, 1), np.float32)
        features[1] = 1.0
        statistics = fit_local_statistics(features)
        # From one picture nothing varies: all variance is the least.
        assert statistics.levels[0] == pytest.approx(1e3, rel=1e-4)
        # Highest where usual: the least unit.
        assert statistics.levels[1] == pytest.approx(0.5)


class TestCombine:
    @pytest.fixture
    def statistics(self) -> LocalStatistics:
        """Features are the distance itself: one number, mean 0, variance 1."""
        return LocalStatistics(
            mean=np.zeros((CELLS, CELLS, 1), np.float32),
            whitening=np.ones((CELLS, CELLS, 1, 1), np.float32),
            levels=np.array([1.0, 0.5], np.float32),
        )

    def test_by_hand(self, statistics: LocalStatistics):
        graph = tf.function(
            statistics.combine,
            input_signature=[
                tf.TensorSpec((None, None, None), tf.float32),
                tf.TensorSpec((None, CELLS, CELLS, 1), tf.float32),
            ],
        )
        evidence = np.zeros((3, 40, 50), np.float32)
        evidence[1:, 3, 4] = 0.4
        features = np.zeros((3, CELLS, CELLS, 1), np.float32)
        features[2] = -2.5
        found = graph(evidence, features).numpy()
        # Nothing where the network has no evidence; there it counts the more, the less usual it is.
        expected = evidence.copy()
        expected[2] *= (1 + (2.5 - 1.0) / 0.5) ** 2
        np.testing.assert_allclose(found, expected, atol=1e-5)
        # What is farther than 4 units counts no more.
        beyond = graph(evidence, 100.0 * features).numpy()
        np.testing.assert_allclose(beyond[2], 25.0 * evidence[2], atol=1e-5)

    def test_places_are_shares_of_the_picture(self, statistics: LocalStatistics):
        """A cell at a quarter of the height and three quarters of the width."""
        features = np.zeros((1, CELLS, CELLS, 1), np.float32)
        features[:, CELLS // 4, 3 * CELLS // 4] = 8.0
        for height, width in [(240, 480), (33, 17)]:
            found = statistics.combine(tf.ones((1, height, width)), tf.constant(features))[0]
            row, column = np.unravel_index(np.argmax(found), (height, width))
            assert (row + 0.5) / height == pytest.approx(0.25 + 0.5 / CELLS, abs=0.04)
            assert (column + 0.5) / width == pytest.approx(0.75 + 0.5 / CELLS, abs=0.04)
