"""Reconstruction of pictures of any size, and the anomaly map, against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.config import DOWNSAMPLING, ScoringConfig
from ssae_tf.errors import ConfigError
from ssae_tf.scoring import anomaly_map, inspect, reconstruct
from ssae_tf.tensor_ops import shrink

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
        missing = [(0, 0), *((0, -side % DOWNSAMPLING) for side in size), (0, 0)]
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
        right = [-(side + 2 * margin) % DOWNSAMPLING + margin for side in x.shape[1:3]]
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


def halved(pictures):
    """A network that answers with half of what it sees, and with a pattern of its own."""
    rows = tf.cast(tf.range(tf.shape(pictures)[1])[:, None, None] % 2, tf.float32)
    return 0.5 * pictures + 0.1 * rows


class TestInspect:
    @pytest.mark.parametrize("size", SIZES)
    def test_one_scale_is_reconstruction_and_map(self, rng, size):
        x = tf.constant(rng.random((2, *size, 3), np.float32))
        config = ScoringConfig(margin=8, smoothing_sigma=1.5)
        reconstruction, map_ = inspect(halved, x, config)
        expected = reconstruct(halved, x, 8)
        np.testing.assert_array_equal(reconstruction, expected)
        np.testing.assert_allclose(map_, anomaly_map(expected, x, config), atol=1e-6)

    def test_the_map_is_the_mean_over_scales(self, rng):
        x = tf.constant(rng.random((1, 32, 48, 3), np.float32))
        config = ScoringConfig(margin=0, smoothing_sigma=0.0, scales=(4, 1))
        reconstruction, map_ = inspect(lambda y: 0.5 * y, x, config)
        np.testing.assert_array_equal(reconstruction, 0.5 * x)
        small = 0.5 * shrink(x, 4).numpy().mean(axis=-1)[0]
        # Enlarged to values of the same mean inside, reached exactly between four centres.
        large = 2.0 * map_.numpy()[0] - 0.5 * x.numpy()[0].mean(axis=-1)
        between = small[:-1, :-1] + small[1:, :-1] + small[:-1, 1:] + small[1:, 1:]
        meeting = [(4 * i + 3, 4 * j + 3) for i in range(7) for j in range(11)]
        found = [large[i : i + 2, j : j + 2].mean() for i, j in meeting]
        np.testing.assert_allclose(found, between.ravel() / 4, atol=1e-6)

    def test_without_the_full_size_the_answer_is_enlarged(self):
        x = tf.fill((1, 21, 30, 3), 0.4)
        config = ScoringConfig(scales=(2,), smoothing_sigma=2.0)
        reconstruction, map_ = inspect(lambda y: 0.75 * y, x, config)
        np.testing.assert_allclose(reconstruction, tf.fill(x.shape, 0.3), atol=1e-6)
        np.testing.assert_allclose(map_, tf.fill((1, 21, 30), 0.1), atol=1e-6)

    def test_in_graphs_of_unknown_sizes(self, rng):
        config = ScoringConfig(scales=(1, 2, 4), smoothing_sigma=1.0)
        graph = tf.function(
            lambda x: inspect(halved, x, config),
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)],
        )
        for size in SIZES:
            x = tf.constant(rng.random((2, *size, 3), np.float32))
            for found, expected in zip(graph(x), inspect(halved, x, config), strict=True):
                assert found.shape[:3] == (2, *size)
                np.testing.assert_allclose(found, expected, atol=1e-6)

    @pytest.mark.parametrize("waiting", [{"scales": None}, {"smoothing_sigma": None}])
    def test_settings_that_wait_for_the_pictures(self, waiting):
        with pytest.raises(ConfigError, match=r"expected numbers, as `settle` gives them"):
            inspect(halved, tf.zeros((1, 8, 8, 3)), ScoringConfig(**waiting))
