"""Keras as this package is written for, whatever the user's files and variables say.

`~/.keras/keras.json` and the environment may name another backend, floating-point type or order of
axes. The backend is chosen when Keras is imported; the rest is set while a network is built, and
given back, because other networks of the same process may go by it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf

from ssae_tf.errors import ConfigError


def import_keras() -> None:
    """Imports Keras with TensorFlow as its backend, and not tf_keras in its place.

    Raises:
        ConfigError: it was imported with another backend before.
    """
    with _variables(KERAS_BACKEND="tensorflow", TF_USE_LEGACY_KERAS="0"):
        backend = tf.keras.backend.backend()
    if backend != "tensorflow":
        raise ConfigError(
            f"Keras was imported before with the backend {backend!r}, from the variable "
            "KERAS_BACKEND or ~/.keras/keras.json; expected 'tensorflow'."
        )


@contextlib.contextmanager
def keras_defaults() -> Iterator[None]:
    """Layers and optimisers made inside are float32, their images (B, H, W, C)."""
    keras = tf.keras
    float_type, order = keras.backend.floatx(), keras.backend.image_data_format()
    epsilon, policy = keras.backend.epsilon(), keras.mixed_precision.global_policy()
    _set("float32", "channels_last", 1e-7, "float32")
    try:
        yield
    finally:
        _set(float_type, order, epsilon, policy)


def _set(float_type: str, order: str, epsilon: float, policy: object) -> None:
    tf.keras.backend.set_floatx(float_type)
    tf.keras.backend.set_image_data_format(order)
    tf.keras.backend.set_epsilon(epsilon)
    tf.keras.mixed_precision.set_global_policy(policy)


@contextlib.contextmanager
def _variables(**changes: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
