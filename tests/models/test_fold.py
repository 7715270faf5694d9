"""The network without batch normalisation answers as the one with it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.errors import RunError
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.blocks import BatchNormalization, DilatedConv2D
from ssae_tf.models.fold import folded
from stand_ins import randomize


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(0.0625),
        ModelConfig(0.125, answer="gated"),
        ModelConfig(0.125, answer="gated", context=2),
    ],
    ids=str,
)
def test_same_answer(config: ModelConfig, rng: np.random.Generator) -> None:
    # Of the narrow networks of a context, those of seed 0 hardly look at the image.
    model = autoencoder(config, training_size=32, seed=1)
    randomize(model)
    copy = folded(model)
    assert not any(isinstance(layer, BatchNormalization) for layer in copy.layers)
    for shape in ((1, 32, 32), (2, 64, 96)):
        x = tf.constant(rng.random((*shape, 3), dtype=np.float32))
        expected = model(x, training=False).numpy()
        # What the weights do shows, in every part of the answer.
        assert expected.std(axis=(1, 2)).min() > 1e-3
        np.testing.assert_allclose(copy(x), expected, rtol=1e-5, atol=2e-6)


def test_dead_taps_are_left_out(rng: np.random.Generator) -> None:
    """Images of 16² train 3 × 3 taps of the kernels of rate 1, and one of all others."""
    config = ModelConfig(width=0.0625)
    model = autoencoder(config, training_size=16)
    copy = folded(model)
    sides = {rate: copy.get_layer(f"sdc1_rate{rate}").kernel.shape[0] for rate in (1, 2, 16)}
    assert sides == {1: 3, 2: 1, 16: 1}
    x = tf.constant(rng.random((1, 48, 40, 3), dtype=np.float32))
    np.testing.assert_allclose(copy(x), model(x, training=False), atol=2e-6)


@pytest.mark.parametrize("taps", [0, 1, 2])
def test_one_value_keeps_a_tap(rng: np.random.Generator, taps: int) -> None:
    layer = DilatedConv2D(3, 5, 4, training_map=64, name="dilated")
    inputs = tf.keras.Input((None, None, 2))
    model = tf.keras.Model(inputs, layer(inputs))
    kernel = np.zeros((5, 5, 2, 3), np.float32)
    kernel[2, 2 + taps, 1, 2] = 0.5
    layer.kernel.assign(kernel)
    copy = folded(model)
    assert copy.get_layer("dilated").kernel.shape[:2] == (2 * taps + 1,) * 2
    x = rng.random((1, 23, 30, 2), dtype=np.float32)
    expected = np.zeros((1, 23, 30, 3), np.float32)
    # What lies four pixels a tap to the right, halved.
    expected[:, :, : 30 - 4 * taps, 2] = 0.5 * x[:, :, 4 * taps :, 1]
    np.testing.assert_allclose(copy(x), expected, atol=1e-6)


def test_a_kernel_of_zeros_answers_with_zero(rng: np.random.Generator) -> None:
    layer = DilatedConv2D(3, 5, 2, training_map=64)
    inputs = tf.keras.Input((None, None, 2))
    model = tf.keras.Model(inputs, layer(inputs))
    layer.kernel.assign(np.zeros((5, 5, 2, 3), np.float32))
    assert not folded(model)(rng.random((1, 9, 9, 2), dtype=np.float32)).numpy().any()


def test_a_network_without_anything_to_fold_stays_itself() -> None:
    inputs = tf.keras.Input((None, None, 3))
    # What can't be copied.
    model = tf.keras.Model(inputs, tf.keras.layers.Lambda(lambda x: 0.5 * x)(inputs))
    assert folded(model) is model


def test_other_layers_stay_as_they_are(rng: np.random.Generator) -> None:
    inputs = tf.keras.Input((None, None, 3))
    x = tf.keras.layers.Conv2D(3, 3, padding="same", use_bias=False)(inputs)
    x = tf.keras.layers.Conv2D(3, 3, padding="same")(BatchNormalization()(x))
    model = tf.keras.Model(inputs, tf.keras.layers.Rescaling(0.5, 0.1)(x))
    x = tf.constant(rng.random((1, 8, 8, 3), dtype=np.float32))
    np.testing.assert_allclose(folded(model)(x), model(x), atol=1e-6)


def test_normalisation_of_anything_else_is_refused() -> None:
    inputs = tf.keras.Input((None, None, 3))
    outputs = BatchNormalization()(tf.keras.layers.ReLU(name="relu")(inputs))
    with pytest.raises(RunError, match="Received: 'relu'"):
        folded(tf.keras.Model(inputs, outputs))
