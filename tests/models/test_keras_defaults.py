"""Networks are the same whatever a user has set for Keras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.errors import ConfigError
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.keras_defaults import import_keras, keras_defaults

SCRIPT = """
import os, sys
import numpy as np
from ssae_tf.config import ModelConfig
from ssae_tf.models.autoencoder import autoencoder
import tensorflow as tf
model = autoencoder(ModelConfig(width=0.05), 32)
np.save(sys.argv[1], model(tf.ones((1, 16, 16, 3))).numpy())
print(os.environ["KERAS_BACKEND"], tf.keras.backend.floatx())
"""


def test_files_and_variables_of_the_user_change_nothing(tmp_path: Path) -> None:
    settings = {"floatx": "float16", "image_data_format": "channels_first", "backend": "torch"}
    (tmp_path / "keras.json").write_text(json.dumps({**settings, "epsilon": 1e-3}))
    odd = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax", "TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "out.npy")],
        env={**os.environ, **odd},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Other networks of the process still go by the user's.
    assert done.stdout.split() == ["jax", "float16"]
    answer = np.load(tmp_path / "out.npy")
    assert answer.dtype == np.float32
    here = autoencoder(ModelConfig(width=0.05), 32)(tf.ones((1, 16, 16, 3)))
    np.testing.assert_allclose(answer, here, atol=1e-6)


def test_settings_hold_while_a_network_is_built_and_are_given_back() -> None:
    backend, precision = tf.keras.backend, tf.keras.mixed_precision
    before = precision.global_policy()
    backend.set_image_data_format("channels_first")
    precision.set_global_policy("mixed_float16")
    try:
        model = autoencoder(ModelConfig(width=0.05), 32)
        with keras_defaults():
            assert backend.image_data_format() == "channels_last"
        assert backend.image_data_format() == "channels_first"
        assert precision.global_policy().name == "mixed_float16"
    finally:
        backend.set_image_data_format("channels_last")
        precision.set_global_policy(before)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert model(tf.ones((1, 16, 16, 3))).shape == (1, 16, 16, 3)


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # None is installed here.
    monkeypatch.setattr(tf.keras.backend, "backend", lambda: "jax")
    with pytest.raises(ConfigError, match=r"'jax', from the variable KERAS_BACKEND or .*\.json"):
        import_keras()
