"""Where training starts: measured statistics, and a network that answers with a coarse copy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.config import ModelConfig
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.blocks import BatchNormalization, DilatedConv2D
from ssae_tf.models.initial import measure_statistics, start_as_low_pass
from ssae_tf.training import normalization

SIZE = 32


@pytest.fixture
def pictures(rng):
    """Smooth coloured pictures of different brightness, (8, 32, 32, 3) in [0.1, 0.9]."""
    noise = ndimage.gaussian_filter(rng.normal(size=(8, SIZE, SIZE, 3)), (0, 8, 8, 0))
    level = rng.uniform(0.3, 0.7, size=(8, 1, 1, 3))
    return np.clip(level + noise / noise.std() * 0.05, 0.1, 0.9).astype(np.float32)


def network(width=0.125, **settings):
    return autoencoder(ModelConfig(width=width, **settings), training_size=SIZE)


def error(model, x):
    return float(np.abs(model(x, training=False) - x).mean())


class TestStatistics:
    def test_every_normalisation_finds_zero_mean_and_unit_variance(self, pictures):
        model = network()
        measure_statistics(model, pictures)
        for layer in model.layers:
            if isinstance(layer, BatchNormalization):
                out = tf.keras.Model(model.input, layer.output)(pictures, training=False).numpy()
                alive = layer.moving_variance.numpy() > 0.01
                np.testing.assert_allclose(out.mean((0, 1, 2)), 0.0, atol=1e-3)
                np.testing.assert_allclose(out.var((0, 1, 2))[alive], 1.0, atol=0.15)

    def test_weights_stay(self, pictures):
        model = network()
        before = [v.numpy() for v in model.trainable_weights]
        measure_statistics(model, pictures)
        for old, new in zip(before, model.trainable_weights, strict=True):
            np.testing.assert_array_equal(old, new.numpy())


class TestLowPass:
    def test_answers_with_a_coarse_copy(self, pictures):
        model = network()
        measure_statistics(model, pictures)
        constant = float(np.abs(pictures - pictures.mean((0, 1, 2))).mean())
        assert error(model, pictures) > 0.5 * constant
        start_as_low_pass(model, pictures)
        assert error(model, pictures) < 0.35 * constant

    def test_a_residual_network_stays_the_identity(self, pictures):
        model, plain = network(residual=True), network()
        for one in (model, plain):
            start_as_low_pass(one, pictures)
        np.testing.assert_array_equal(model(pictures, training=False), pictures)
        # All but the last layer begin as in the other network.
        for a, b in zip(model.weights[:-2], plain.weights[:-2], strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())

    def test_pictures_it_was_not_measured_on(self, pictures):
        model = network()
        start_as_low_pass(model, pictures[:4])
        others = pictures[4:]
        constant = float(np.abs(others - others.mean((0, 1, 2))).mean())
        assert error(model, others) < 0.5 * constant

    def test_training_with_moving_statistics_is_inference(self, pictures):
        model = network(reach=0.25)
        start_as_low_pass(model, pictures)
        normalization.set_mode(model, "moving")
        np.testing.assert_allclose(
            model(pictures, training=True), model(pictures, training=False), atol=1e-6
        )

    def test_taps_that_training_can_not_reach_stay_zero(self, pictures):
        model = network()
        start_as_low_pass(model, pictures)
        for layer in model.layers:
            # On a map of 4 × 4, rates of 4 and more have but their centre.
            if isinstance(layer, DilatedConv2D) and layer.rate >= 4:
                kernel = layer.kernel.numpy()
                kernel[2, 2] = 0.0
                assert not kernel.any()

    def test_flat_pictures(self):
        flat = np.full((2, SIZE, SIZE, 3), 0.25, np.float32)
        model = network()
        start_as_low_pass(model, flat)
        assert error(model, flat) < 0.05

    def test_too_few_channels_for_the_colours(self, pictures):
        narrow, expected = network(width=0.03), network(width=0.03)
        start_as_low_pass(narrow, pictures)
        measure_statistics(expected, pictures)
        for a, b in zip(narrow.weights, expected.weights, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
