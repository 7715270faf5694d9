"""Table 1 as a Keras model: its layers, what joins them, and what each setting changes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.models.autoencoder import DILATION_RATES, autoencoder
from ssae_tf.models.blocks import BatchNormalization, DilatedConv2D

NARROW = ModelConfig(width=0.0625)
CONVOLUTIONS = (tf.keras.layers.Conv2D, tf.keras.layers.Conv2DTranspose, DilatedConv2D)


@pytest.fixture(scope="module")
def full():
    return autoencoder(ModelConfig(), training_size=512)


@pytest.fixture(scope="module")
def narrow():
    return autoencoder(NARROW, training_size=32)


def consumers(model, layer):
    """The layers that read a layer's output."""
    return [
        other
        for other in model.layers
        if any(tensor is layer.output for tensor in tf.nest.flatten(other.input))
        and other is not layer
    ]


class TestStructure:
    def test_eleven_point_seven_million_parameters(self, full):
        trainable = sum(int(np.prod(v.shape)) for v in full.trainable_weights)
        # Kernels, then γ and β of the 21 normalisations, then the last bias.
        kernels = (
            9 * (3 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
            + 25 * 5 * 64 * (128 + 320 + 320 + 320)
            + 9 * (320 * 256 + 256 * 256 + 256 * 256 + 256 * 128)
            + 9 * (128 * 128 + 128 * 128 + 128 * 64)
            + 9 * (64 * 64 + 64 * 64 + 64 * 32)
            + 32 * 3
        )
        channels = (32, 32, 64, 64, 128, 128, *4 * (320,), *3 * (256,), *3 * (128,), *3 * (64,), 32)
        assert trainable == kernels + 2 * sum(channels) + 3
        assert trainable / 1e6 == pytest.approx(11.7, abs=0.05)

    def test_normalisation_and_relu_follow_every_convolution_but_the_last(self, narrow):
        convolutions = [layer for layer in narrow.layers if isinstance(layer, CONVOLUTIONS)]
        assert len(convolutions) == 6 + 4 * 5 + 1 + 9 + 1
        for layer in convolutions[:-1]:
            (after,) = consumers(narrow, layer)
            if isinstance(layer, DilatedConv2D):
                assert isinstance(after, tf.keras.layers.Concatenate)
                assert len(after.input) == len(DILATION_RATES)
                (after,) = consumers(narrow, after)
            else:
                assert layer.activation.__name__ == "linear"
                assert not layer.use_bias
            assert isinstance(after, BatchNormalization)
            (relu,) = consumers(narrow, after)
            assert isinstance(relu, tf.keras.layers.ReLU)
        last = convolutions[-1]
        assert last is narrow.layers[-1]
        assert last.activation.__name__ == "sigmoid"
        assert last.use_bias
        assert not consumers(narrow, last)

    def test_the_five_rates_of_a_block_read_the_same_map(self, narrow):
        for block in range(1, 5):
            branches = [narrow.get_layer(f"sdc{block}_rate{rate}") for rate in DILATION_RATES]
            assert [branch.rate for branch in branches] == [1, 2, 4, 8, 16]
            assert all(branch.input is branches[0].input for branch in branches)

    def test_names_are_unique(self, narrow):
        names = [layer.name for layer in narrow.layers]
        assert len(set(names)) == len(names)


class TestImages:
    def test_any_multiple_of_eight_and_any_batch(self, narrow, rng):
        for shape in [(1, 8, 8, 3), (2, 24, 40, 3), (3, 64, 16, 3)]:
            y = narrow(rng.random(shape, dtype=np.float32), training=False)
            assert y.shape == shape
            assert y.dtype == tf.float32
            assert 0 <= y.numpy().min() < y.numpy().max() <= 1

    def test_unknown_sizes_give_what_known_ones_give(self, narrow, rng):
        x = rng.random((2, 24, 40, 3), dtype=np.float32)
        spec = tf.TensorSpec((None, None, None, 3))
        unknown = tf.function(lambda x: narrow(x, training=False), input_signature=[spec])
        np.testing.assert_allclose(unknown(x), narrow(x, training=False), atol=1e-5)

    def test_grey_images(self):
        model = autoencoder(NARROW, training_size=16, channels=1)
        assert model.output_shape == (None, None, None, 1)

    def test_images_of_a_batch_are_apart_in_inference(self, narrow, rng):
        x = rng.random((3, 16, 16, 3), dtype=np.float32)
        one_by_one = [narrow(x[k : k + 1], training=False)[0] for k in range(3)]
        np.testing.assert_allclose(narrow(x, training=False), one_by_one, atol=1e-5)


class TestSettings:
    @pytest.mark.parametrize(("width", "expected"), [(0.5, 32), (1.5, 96), (0.001, 1)])
    def test_width_scales_every_filter_count_but_the_last(self, width, expected):
        model = autoencoder(ModelConfig(width=width), training_size=16)
        convolutions = [layer for layer in model.layers if isinstance(layer, CONVOLUTIONS)]
        filters = {layer.name: layer.filters for layer in convolutions}
        assert filters["sdc3_rate8"] == filters["encoder2_conv1"] == expected
        assert filters["decoder3_up"] == max(1, round(256 * width))
        assert filters["reconstruction"] == 3

    def test_the_training_size_decides_the_initial_taps(self):
        def taps(size, config=NARROW):
            model = autoencoder(config, training_size=size)
            kernels = [np.asarray(model.get_layer(f"sdc2_rate{r}").kernel) for r in DILATION_RATES]
            return [int(np.any(kernel != 0, axis=(2, 3)).sum()) for kernel in kernels]

        # Of maps of 16 and of 8 cells.
        assert taps(128) == [25, 25, 25, 9, 1]
        assert taps(64) == [25, 25, 9, 1, 1]
        # What Table 1 sees is what counts.
        halved = ModelConfig(width=0.0625, answer="gated", context=2)
        assert taps(128, halved) == taps(64)

    def test_the_seed_decides_the_weights(self, narrow):
        same, other = (autoencoder(NARROW, training_size=32, seed=seed) for seed in (0, 1))
        for a, b in zip(narrow.weights, same.weights, strict=True):
            np.testing.assert_array_equal(a, b)
        kernels = [layer.name for layer in narrow.layers if isinstance(layer, CONVOLUTIONS)]
        for name in kernels:
            ours, theirs = (model.get_layer(name).kernel for model in (narrow, other))
            assert not np.allclose(ours, theirs), name

    def test_no_two_layers_start_alike(self, narrow):
        blocks = [np.asarray(narrow.get_layer(f"sdc{k}_rate1").kernel) for k in (2, 3, 4)]
        assert not np.allclose(blocks[0], blocks[1])
        assert not np.allclose(blocks[1], blocks[2])

    def test_the_mean_colour_is_the_first_answer(self, rng):
        x = rng.random((1, 32, 32, 3), dtype=np.float32)
        # Pure white would be infinite.
        model = autoencoder(NARROW, training_size=32, mean_colour=[0.1, 0.5, 1.0])
        colour = np.array([0.1, 0.5, 0.99])
        bias = np.asarray(model.get_layer("reconstruction").bias)
        np.testing.assert_allclose(1.0 / (1.0 + np.exp(-bias)), colour, atol=1e-6)
        found = model(x, training=True).numpy().mean(axis=(0, 1, 2))
        np.testing.assert_allclose(found, colour, atol=0.1)

    def test_grey_is_the_first_answer_without_a_colour(self, narrow):
        np.testing.assert_array_equal(narrow.get_layer("reconstruction").bias, np.zeros(3))
