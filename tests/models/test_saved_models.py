"""A network that Keras saved is loaded by Keras: its layers say what they are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.fold import folded
from stand_ins import randomize

# All layers of the package's own are in it.
EVERY_LAYER = ModelConfig(width=0.02, answer="gated", context=2, standardize=True)


@pytest.fixture(scope="module")
def model() -> tf.keras.Model:
    made = autoencoder(EVERY_LAYER, training_size=32, seed=3)
    randomize(made)
    return made


def check(model: tf.keras.Model, folder: Path) -> None:
    """The loaded copy answers as the model does, and has its layers with their settings."""
    model.save(folder / "model.keras")
    copy = tf.keras.models.load_model(folder / "model.keras")
    x = np.random.default_rng(0).random((1, 32, 64, 3), np.float32)
    np.testing.assert_allclose(copy(x), model(x), atol=1e-6)
    ours = [layer for layer in model.layers if type(layer).__module__.startswith("ssae_tf")]
    assert ours
    for layer in ours:
        other = copy.get_layer(layer.name)
        assert type(other) is type(layer)
        assert other.get_config() == layer.get_config()


def test_keras_loads_a_network_that_it_saved(model: tf.keras.Model, tmp_path: Path) -> None:
    check(model, tmp_path)


def test_keras_loads_an_exported_network_that_it_saved(
    model: tf.keras.Model, tmp_path: Path
) -> None:
    check(folded(model), tmp_path)
