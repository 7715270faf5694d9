"""Reconstruction of pictures of any size, and the anomaly map, against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.config import ScoringConfig
from ssae_tf.scoring import MULTIPLE, anomaly_map, reconstruct

SIZES = [(16, 24), (17, 23), (31, 8), (5, 40), (1, 1)]


def reference(reconstruction, x, reading, sigma):
    error = reconstruction.astype(np.float64) - x
    if reading == "absolute":
        residual = np.abs(error).mean(axis=-1)
    else:
        residual = np.sqrt((error**2).mean(axis=-1))
    if sigma == 0:
        return residual
    return np.stack([ndimage.gaussian_filter(picture, sigma) for picture in residual])


class TestReconstruct:
    @pytest.mark.parametrize("size", SIZES)
    def test_pads_by_reflection_and_crops_back(self, rng, size):
        x = rng.random((2, *size, 3), np.float32)
        seen = []

        def model(pictures):
            seen.append(pictures.numpy())
            return 1.0 - pictures

        found = reconstruct(model, tf.constant(x))
        np.testing.assert_array_equal(found, 1.0 - x)
        missing = [(0, 0), *((0, -side % MULTIPLE) for side in size), (0, 0)]
        np.testing.assert_array_equal(seen[0], np.pad(x, missing, mode="symmetric"))

    @pytest.mark.parametrize("margin", [1, 16])
    def test_adds_a_reflected_margin_and_cuts_it_off(self, rng, margin):
        x = rng.random((2, 13, 24, 3), np.float32)
        seen = []

        def model(pictures):
            seen.append(pictures.numpy())
            return 1.0 - pictures

        found = reconstruct(model, tf.constant(x), margin)
        np.testing.assert_array_equal(found, 1.0 - x)
        right = [-(side + 2 * margin) % MULTIPLE + margin for side in x.shape[1:3]]
        missing = [(0, 0), *((margin, more) for more in right), (0, 0)]
        np.testing.assert_array_equal(seen[0], np.pad(x, missing, mode="symmetric"))

    def test_in_graphs_of_unknown_sizes(self, rng):
        def model(pictures):
            sides = tf.shape(pictures)[1:3]
            tf.debugging.assert_equal(sides % 8, 0)
            return 1.0 - pictures

        graph = tf.function(
            lambda x: reconstruct(model, x),
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)],
        )
        for size in SIZES:
            x = rng.random((2, *size, 3), np.float32)
            np.testing.assert_array_equal(graph(x), 1.0 - x)

    @pytest.mark.parametrize("size", [(16, 24), (17, 23)])
    def test_known_sizes_stay_known(self, size):
        shapes = []

        def model(pictures):
            shapes.append(pictures.shape)
            return pictures

        spec = tf.TensorSpec((None, *size, 3), tf.float32)
        graph = tf.function(lambda x: reconstruct(model, x)).get_concrete_function(spec)
        assert shapes[0] == tf.TensorShape((None, *(-(-side // 8) * 8 for side in size), 3))
        assert graph.output_shapes == tf.TensorShape((None, *size, 3))


class TestAnomalyMap:
    @pytest.mark.parametrize("sigma", [0.0, 1.5, 4.0])
    @pytest.mark.parametrize("reading", ["absolute", "euclidean"])
    @pytest.mark.parametrize("size", [(17, 23), (5, 40)])
    def test_is_numpys_and_scipys(self, rng, size, reading, sigma):
        x, reconstruction = (rng.random((2, *size, 3), np.float32) for _ in range(2))
        config = ScoringConfig(reading=reading, smoothing_sigma=sigma)
        found = anomaly_map(tf.constant(reconstruction), tf.constant(x), config)
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, reference(reconstruction, x, reading, sigma), atol=1e-5)

    def test_by_hand(self):
        # Errors of 0.3, 0 and −0.6: mean 0.3, root mean square √0.15.
        x = tf.constant([[[[0.1, 0.2, 0.9]]]])
        reconstruction = tf.constant([[[[0.4, 0.2, 0.3]]]])
        for reading, expected in (("absolute", 0.3), ("euclidean", 0.15**0.5)):
            config = ScoringConfig(reading=reading, smoothing_sigma=0.0)
            assert float(anomaly_map(reconstruction, x, config)[0, 0, 0]) == pytest.approx(expected)

    @pytest.mark.parametrize("reading", ["absolute", "euclidean"])
    def test_of_a_perfect_reconstruction_is_zero(self, rng, reading):
        x = tf.constant(rng.random((1, 9, 9, 3), np.float32))
        assert (anomaly_map(x, x, ScoringConfig(reading=reading)).numpy() == 0).all()

    def test_pictures_do_not_affect_each_other(self, rng):
        x = tf.constant(rng.random((3, 12, 12, 3), np.float32))
        config = ScoringConfig()
        maps = anomaly_map(1.0 - x, x, config)
        for n in range(3):
            alone = anomaly_map(1.0 - x[n : n + 1], x[n : n + 1], config)
            np.testing.assert_allclose(maps[n], alone[0], atol=1e-7)

    @pytest.mark.parametrize("jit", [False, True])
    @pytest.mark.parametrize("reading", ["absolute", "euclidean"])
    def test_in_graphs_of_unknown_sizes(self, rng, reading, jit):
        config = ScoringConfig(reading=reading)
        graph = tf.function(
            lambda reconstruction, x: anomaly_map(reconstruction, x, config),
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)] * 2,
            jit_compile=jit,
        )
        x, reconstruction = (rng.random((2, 13, 18, 3), np.float32) for _ in range(2))
        expected = anomaly_map(tf.constant(reconstruction), tf.constant(x), config)
        np.testing.assert_allclose(graph(reconstruction, x), expected, atol=1e-6)
