"""What stands in for a person who listens and for a network that is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssae_tf import detector, workflow
from ssae_tf.calibration import build_detector
from ssae_tf.config import ModelConfig, RunConfig, from_dict, override
from ssae_tf.data.mvtec import load_category
from ssae_tf.data.split import data_hash, split_names, split_normal
from ssae_tf.evaluation import run as evaluation_run
from ssae_tf.files import write_json
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.blocks import BatchNormalization, DilatedConv2D
from ssae_tf.models.gated import Blend
from ssae_tf.progress import Reporter
from ssae_tf.scoring.conformal import FalseAlarmRate

# Of metrics.json, as the contract has them.
FIGURES = {
    "image_auroc",
    "pixel_auroc",
    "aupro",
    "tpr",
    "tnr",
    "balanced_accuracy",
    "f1_image",
    "f1_pixel",
}


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


def small_network(
    config: ModelConfig,
    training_size: int,
    *,
    seed: int = 0,
    mean_colour: object = None,
    channels: int = 3,
) -> tf.keras.Model:
    """One layer of each kind that Table 1 has, and a gate on the same features if it is gated."""
    draw = tf.keras.initializers.RandomNormal(stddev=0.3, seed=seed)
    same = {"padding": "same", "kernel_initializer": draw}
    inputs = tf.keras.Input((None, None, channels))
    x = tf.keras.layers.Conv2D(4, 3, name="conv", **same)(inputs)
    x = tf.keras.layers.MaxPooling2D(2, name="pool")(x)
    x = DilatedConv2D(4, 5, 4, training_size // 2, seed, name="dilated")(x)
    x = BatchNormalization(name="norm")(x)
    x = tf.keras.layers.ReLU(name="relu")(x)
    x = tf.keras.layers.Conv2DTranspose(4, 3, strides=2, name="up", **same)(x)
    last = tf.keras.layers.Conv2D(
        channels, 1, activation="sigmoid", kernel_initializer=draw, name="reconstruction"
    )
    outputs = last(x)
    if config.answer == "gated":
        gate = tf.keras.layers.Conv2D(
            1, 1, activation="sigmoid", kernel_initializer=draw, name="gate"
        )
        outputs = Blend(name="repaired")([inputs, gate(x), outputs])
    return tf.keras.Model(inputs, outputs)


def negative_square(x: tf.Tensor, seed: tf.Tensor, *_: object) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes a square of 5 × 5 pixels negative, in place of X -> (X̂, M)."""
    # A place for every seed and slot, without random numbers, which are slow to trace.
    slots = tf.range(tf.shape(x)[0])[:, None, None, None]
    top = tf.math.floormod(3 * slots + 5 * seed[0] + 3 * seed[1], 9)
    left = tf.math.floormod(4 * slots + 2 * seed[0] + 7 * seed[1], 10)
    rows, columns = tf.range(x.shape[1])[:, None, None], tf.range(x.shape[2])[:, None]
    inside = (rows >= top) & (rows < top + 5) & (columns >= left) & (columns < left + 5)
    mask = tf.broadcast_to(tf.cast(inside, tf.float32), tf.shape(x))
    return tf.where(mask > 0, 1.0 - x, x), mask


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


def negative_corner(x: tf.Tensor, *_: object) -> tuple[tf.Tensor, tf.Tensor]:
    """In place of `held_out`, which takes longer than all else that is done without training."""
    mask = np.zeros(x.shape, np.float32)
    mask[:, : x.shape[1] // 2, : x.shape[2] // 2] = 1.0
    return tf.where(mask > 0.0, 1.0 - x, x), tf.constant(mask)


def put_grey_network(
    monkeypatch: pytest.MonkeyPatch, trainer: type
) -> Callable[[RunConfig], tf.keras.Model]:
    """The grey network wherever a network would be loaded; sheets are empty files.

    Corrupted copies of images are negative in one corner.

    Args:
        monkeypatch: of the test.
        trainer: what `workflow` trains with.

    Returns:
        The network of some settings, for the trainer to return; of a gated one half open.
    """

    def write_sheet(path: Path, *_: object, **__: object) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")

    for module in ("corruption.held_out", "evaluation.projection"):
        monkeypatch.setattr(f"ssae_tf.{module}.held_out", negative_corner)
    model, gated = grey_network(), half_open_network()
    monkeypatch.setattr(evaluation_run, "write_sheet", write_sheet)
    monkeypatch.setattr(workflow, "Trainer", trainer)

    def network_of(config: RunConfig, *_: object) -> tf.keras.Model:
        return gated if config.model.answer == "gated" else model

    monkeypatch.setattr(detector, "load_network", network_of)
    return network_of


def write_flat(folder: Path, levels: Iterable[int], size: int = 16) -> list[Path]:
    """Flat images, 000.png and so on; under the grey network one has the score |level/255 − ½|."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, level in enumerate(levels):
        paths.append(folder / f"{number:03}.png")
        assert cv2.imwrite(str(paths[-1]), np.full((size, size, 3), level, np.uint8))
    return paths


def flat_score(level: int) -> float:
    """The score of a flat image under the grey network, whose map is not smoothed."""
    return float(abs(np.float32(level) / np.float32(255) - np.float32(0.5)))


def write_grey_run(folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of the grey network, without training; single pixels are defects.

    Args:
        folder: of the run.
        data: a root with one category, or a plain folder of good images.
        monkeypatch: of the test, in which `Detector.load` gets the grey network.
    """
    model = grey_network()
    monkeypatch.setattr(detector, "load_network", lambda config, weights: model)
    found = load_category(data, None)
    changes = {"category": found.name, "scoring.smoothing_sigma": 0.0, "min_area": 1}
    config = override(RunConfig(), changes)
    split = split_normal(found, 0, 0.1, 0.25)
    made = build_detector(model, config, split, Listener())
    made.save(folder)
    write_json(folder / "split.json", split_names(split))
    environment = {"schema_version": 1, "data": str(data), "data_hash": data_hash(found)}
    write_json(folder / "environment.json", environment)
    return folder


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
    scoring = {"smoothing_sigma": 2.0, "inspection_size": "native"}
    config = from_dict({"model": {"width": 0.0625}, "scoring": scoring})
    model = autoencoder(config.model, training_size=32)
    randomize(model)
    calibration = detector.Calibration(threshold, 9, (threshold,), FalseAlarmRate(1))
    return detector.Detector(model, config, calibration)


def assert_same(one: Any, other: Any) -> None:
    """Two results are equal, but for the path."""
    assert one.to_dict() | {"path": ""} == other.to_dict() | {"path": ""}
    for name in ("image", "reconstruction", "anomaly_map", "mask"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
