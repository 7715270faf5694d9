"""Random draws, Gaussian filters and reflection, against NumPy, SciPy and tensorflow-addons."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage, stats

from ssae_tf.ops.gaussian import gaussian_filter, gaussian_filter_each
from ssae_tf.ops.random import log_uniform, split_seed, uniform
from ssae_tf.ops.resampling import pad_reflect, reflect_indices, upsample

INTERVALS = [(0.0, 1.0), (-1.0, 1.0), (0.2, 0.9), (50.0, 200.0), (0.0, 2.0 * math.pi)]
SIZES = [(1, 1), (1, 9), (7, 1), (5, 3), (16, 24), (33, 20)]


def smoothed(x, sigma):
    """Each channel of (H, W, C) on its own."""
    return ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="reflect", truncate=4.0)


class TestRandom:
    def test_uniform_is_the_same_eagerly_in_graphs_and_compiled(self):
        def draw(seed):
            return [uniform((3, 4001), seed, low, high) for low, high in INTERVALS]

        seed = tf.constant([3, -4])
        eager = draw(seed)
        for other in (tf.function(draw), tf.function(draw, jit_compile=True)):
            for ours, theirs in zip(eager, other(seed), strict=True):
                np.testing.assert_array_equal(ours, theirs)

    @pytest.mark.parametrize(("low", "high"), INTERVALS)
    def test_uniform_is_uniform(self, low, high):
        values = uniform((20000,), tf.constant([1, 2]), low, high)
        assert values.dtype == tf.float32
        values = values.numpy()
        near = 0.001 * (high - low)
        assert np.float32(low) <= values.min() < low + near
        assert high - near < values.max() <= np.float32(high)
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.01
        assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.03

    def test_other_seeds_give_other_numbers(self):
        seeds = [[0, 0], [0, 1], [1, 0], [1, 1]]
        draws = [uniform((1000,), tf.constant(seed)).numpy() for seed in seeds]
        np.testing.assert_array_equal(draws[0], uniform((1000,), tf.constant(seeds[0])))
        assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.15

    def test_uniform_takes_shapes_of_tensors(self):
        draw = tf.function(lambda n, seed: uniform((n, 3), seed)).get_concrete_function(
            tf.TensorSpec((), tf.int32), tf.TensorSpec((2,), tf.int32)
        )
        seed = tf.constant([5, 6])
        np.testing.assert_array_equal(draw(tf.constant(4), seed), uniform((4, 3), seed))

    def test_log_uniform_is_uniform_in_the_logarithm(self):
        values = log_uniform((20000,), tf.constant([1, 2]), 0.1, 10.0).numpy()
        assert stats.kstest(np.log10(values), stats.uniform(-1, 2).cdf).pvalue > 0.01

    def test_split_seeds_differ_from_each_other_and_their_parent(self):
        parent = tf.constant([8, 9])
        seeds = [tuple(seed.numpy()) for seed in split_seed(parent, 5)]
        assert len({*seeds, (8, 9)}) == 6
        again = tf.function(lambda seed: split_seed(seed, 5), jit_compile=True)(parent)
        assert seeds == [tuple(seed.numpy()) for seed in again]


class TestReflection:
    @pytest.mark.parametrize("size", range(1, 8))
    def test_reflect_indices_are_numpys_symmetric_padding(self, size):
        expected = np.pad(np.arange(size), (11, 13), mode="symmetric")
        np.testing.assert_array_equal(reflect_indices(-11, size + 13, size), expected)
        np.testing.assert_array_equal(reflect_indices(-11, size + 13, tf.constant(size)), expected)

    def test_pad_reflect_of_all_sizes(self, rng):
        graph = tf.function(
            lambda x: pad_reflect(x, 8),
            input_signature=[tf.TensorSpec((None, None, None, 2), tf.float32)],
        )
        for height in range(1, 18):
            width = 18 - height
            x = rng.random((2, height, width, 2), np.float32)
            missing = [(0, 0), (0, -height % 8), (0, -width % 8), (0, 0)]
            expected = np.pad(x, missing, mode="symmetric")
            np.testing.assert_array_equal(pad_reflect(tf.constant(x), 8), expected)
            np.testing.assert_array_equal(graph(x), expected)

    def test_pad_reflect_keeps_known_sizes_known(self):
        spec = tf.TensorSpec((None, 13, 16, 3), tf.float32)
        padded = tf.function(lambda x: pad_reflect(x, 8)).get_concrete_function(spec)
        assert padded.output_shapes == tf.TensorShape((None, 16, 16, 3))

    def test_pad_reflect_leaves_whole_multiples_alone(self, rng):
        x = tf.constant(rng.random((1, 8, 16, 3), np.float32))
        assert pad_reflect(x, 8) is x


class TestScales:
    def test_enlarging_keeps_centres_in_place(self):
        ramp = tf.reshape(tf.range(6.0), (1, 6, 1, 1))
        found = upsample(ramp, 2)[0, :, 0, 0]
        # Pixel k of the small image covers pixels 2k and 2k + 1 of the large one.
        np.testing.assert_allclose(found[1:-1], np.arange(1, 11) / 2 - 0.25, atol=1e-6)
        np.testing.assert_allclose([found[0], found[-1]], [0, 5], atol=1e-6)

    def test_what_is_flat_stays_flat(self):
        x = tf.fill((1, 10, 14, 3), 0.3)
        np.testing.assert_allclose(upsample(x, 2), tf.fill((1, 20, 28, 3), 0.3), atol=1e-6)

    def test_scale_one_is_a_no_op(self, rng):
        x = tf.constant(rng.random((1, 5, 7, 3), np.float32))
        assert upsample(x, 1) is x

    def test_known_sizes_stay_known_and_others_unknown(self):
        for size, expected in (((5, 8), (10, 16)), ((None, 8), (None, 16))):
            spec = tf.TensorSpec((None, *size, 3))
            graph = tf.function(lambda x: upsample(x, 2)).get_concrete_function(spec)
            assert graph.output_shapes == tf.TensorShape((None, *expected, 3))


class TestGaussianFilter:
    @pytest.mark.parametrize("sigma", [0.1, 0.8, 4.0, 9.0])
    @pytest.mark.parametrize("size", SIZES)
    def test_is_scipys(self, rng, size, sigma):
        x = rng.random((2, *size, 1), np.float32)
        found = gaussian_filter(tf.constant(x), sigma)
        expected = np.stack([smoothed(image, sigma) for image in x])
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_sigma_zero_is_a_no_op(self, rng):
        x = tf.constant(rng.random((1, 5, 6, 1), np.float32))
        assert gaussian_filter(x, 0.0) is x

    @pytest.mark.parametrize("jit", [False, True])
    def test_of_unknown_sizes(self, rng, jit):
        spec = tf.TensorSpec((None, None, None, 1), tf.float32)
        graph = tf.function(
            lambda x: gaussian_filter(x, 2.0), input_signature=[spec], jit_compile=jit
        )
        x = rng.random((2, 6, 11, 1), np.float32)
        np.testing.assert_allclose(graph(x), gaussian_filter(tf.constant(x), 2.0), atol=1e-6)

    def test_of_a_large_image_in_a_graph(self, rng):
        """oneDNN ends the process at some convolutions with constant weights."""
        x = rng.random((1, 1024, 1040, 1), np.float32)
        found = tf.function(lambda x: gaussian_filter(x, 16.0))(tf.constant(x))
        np.testing.assert_allclose(found[0], smoothed(x[0], 16.0), atol=1e-5)

    def test_is_the_addons(self, rng):
        tfa = pytest.importorskip("tensorflow_addons", reason="only the card environment has it")
        x = rng.random((2, 24, 19, 1), np.float32)
        theirs = tfa.image.gaussian_filter2d(x, (17, 17), sigma=2.0, padding="SYMMETRIC")
        np.testing.assert_allclose(gaussian_filter(tf.constant(x), 2.0), theirs, atol=1e-5)


class TestGaussianFilterEach:
    @pytest.mark.parametrize("size", SIZES)
    def test_is_scipys_up_to_sigmas_of_the_shorter_side(self, rng, size):
        sigmas = np.float32([0.1, 0.8, 1.0, 3.0, min(size)])
        sigmas = np.minimum(sigmas, min(size))
        x = rng.random((len(sigmas), *size, 2), np.float32)
        found = gaussian_filter_each(tf.constant(x), tf.constant(sigmas))
        expected = np.stack([smoothed(p, s) for p, s in zip(x, sigmas, strict=True)])
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_larger_sigmas_give_nearly_the_mean(self, rng):
        x = rng.random((3, 8, 12, 1), np.float32)
        found = gaussian_filter_each(tf.constant(x), tf.constant([9.0, 20.0, 200.0]))
        spread = np.abs(found - x.mean(axis=(1, 2), keepdims=True)).max()
        assert spread < 0.02
        flat = gaussian_filter_each(tf.ones((3, 8, 12, 1)), tf.constant([9.0, 20.0, 200.0]))
        np.testing.assert_allclose(flat, 1.0, atol=1e-6)

    @pytest.mark.parametrize("jit", [False, True])
    def test_of_unknown_sizes(self, rng, jit):
        signature = [
            tf.TensorSpec((None, None, None, 2), tf.float32),
            tf.TensorSpec((None,), tf.float32),
        ]
        graph = tf.function(gaussian_filter_each, input_signature=signature, jit_compile=jit)
        x = tf.constant(rng.random((3, 9, 14, 2), np.float32))
        sigma = tf.constant([0.5, 2.0, 4.0])
        np.testing.assert_allclose(graph(x, sigma), gaussian_filter_each(x, sigma), atol=1e-6)

    def test_is_the_addons(self, rng):
        tfa = pytest.importorskip("tensorflow_addons", reason="only the card environment has it")
        x = rng.random((2, 24, 19, 3), np.float32)
        found = gaussian_filter_each(tf.constant(x), tf.constant([1.0, 2.0]))
        for image, ours, sigma in zip(x, found, (1.0, 2.0), strict=True):
            shape = (int(8 * sigma) + 1,) * 2
            theirs = tfa.image.gaussian_filter2d(image, shape, sigma, padding="SYMMETRIC")
            np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def test_larger_sigmas_smooth_more(self, rng):
        x = tf.constant(np.repeat(rng.random((1, 32, 32, 1), np.float32), 3, axis=0))
        spreads = np.std(gaussian_filter_each(x, tf.constant([1.0, 2.0, 4.0])), axis=(1, 2, 3))
        assert all(b < a for a, b in pairwise(spreads))
