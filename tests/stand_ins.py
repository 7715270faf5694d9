"""What stands in for a person who listens and for a network that is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf import detector, workflow
from ssae_tf.config import from_dict
from ssae_tf.evaluation import run as evaluation_run
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.progress import Reporter
from ssae_tf.scoring.conformal import FalseAlarmRate


class Listener(Reporter):
    """Keeps what a person would be told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.warned.append(message)


def grey_network() -> tf.keras.Model:
    """F(X) = 0.5."""
    inputs = tf.keras.Input((None, None, 3))
    return tf.keras.Model(inputs, tf.keras.layers.Rescaling(0.0, 0.5)(inputs))


def half_open_network() -> tf.keras.Model:
    """A gated network with F(X) = A = G(X) = 0.5."""
    inputs = tf.keras.Input((None, None, 3))
    half = tf.keras.layers.Conv2D(7, 1, kernel_initializer="zeros", bias_initializer=_half)
    return tf.keras.Model(inputs, half(inputs))


def _half(shape: tuple[int, ...], dtype: object = None) -> tf.Tensor:
    return tf.fill(shape, tf.constant(0.5, dtype or tf.float32))


def put_grey_network(monkeypatch: pytest.MonkeyPatch, trainer: type) -> tf.keras.Model:
    """The grey network wherever a network would be loaded; sheets are empty files.

    Args:
        monkeypatch: of the test.
        trainer: what `workflow` trains with.

    Returns:
        The network, for the trainer to return.
    """

    def write_sheet(path: Path, *_: object, **__: object) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")

    model, gated = grey_network(), half_open_network()
    monkeypatch.setattr(evaluation_run, "write_sheet", write_sheet)
    monkeypatch.setattr(workflow, "Trainer", trainer)
    for module in (workflow, detector):
        monkeypatch.setattr(
            module,
            "load_network",
            lambda config, weights: gated if config.model.answer == "gated" else model,
        )
    return model


def randomize(model: tf.keras.Model) -> None:
    """Gives batch normalisation and the last layer values that nobody starts with."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith("_norm"):
            layer.set_weights([0.5 + rng.random(np.shape(w)) for w in layer.get_weights()])
        elif layer.name == "reconstruction":
            layer.set_weights([rng.normal(size=np.shape(w)) for w in layer.get_weights()])


def untrained_detector(threshold: float) -> detector.Detector:
    """A small network with random weights, which scores everything, and a threshold."""
    settings = {"model": {"width": 0.0625}, "scoring": {"smoothing_sigma": 2.0}}
    config = from_dict(settings)
    model = autoencoder(config.model, training_size=32)
    randomize(model)
    calibration = detector.Calibration(threshold, 9, (threshold,), FalseAlarmRate(1))
    return detector.Detector(model, config, calibration)
