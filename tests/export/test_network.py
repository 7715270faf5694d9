"""The network without batch normalisation answers as the one with it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.errors import RunError
from ssae_tf.export.network import folded
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.blocks import BatchNormalization
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


def test_other_networks_stay_as_they_are(rng: np.random.Generator) -> None:
    inputs = tf.keras.Input((None, None, 3))
    layer = tf.keras.layers.Conv2D(3, 3, padding="same", strides=1)
    model = tf.keras.Model(inputs, tf.keras.layers.Rescaling(0.5, 0.1)(layer(inputs)))
    x = tf.constant(rng.random((1, 8, 8, 3), dtype=np.float32))
    np.testing.assert_array_equal(folded(model)(x), model(x))


def test_normalisation_of_anything_else_is_refused() -> None:
    inputs = tf.keras.Input((None, None, 3))
    outputs = BatchNormalization()(tf.keras.layers.ReLU(name="relu")(inputs))
    with pytest.raises(RunError, match="Received: 'relu'"):
        folded(tf.keras.Model(inputs, outputs))
