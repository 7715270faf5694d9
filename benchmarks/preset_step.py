"""The compiled training step of some settings, as `fit` makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ssae_tf.config import RunConfig
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.training.step import make_step


def preset_step(config: RunConfig, side: int) -> Callable[..., Any]:
    """The step on pictures of this side, `make_step`'s."""
    model = autoencoder(config.model, training_size=side)
    optimizer = tf.keras.optimizers.Adam(1e-4)
    optimizer.build(model.trainable_variables)
    return make_step(model, optimizer, config)
