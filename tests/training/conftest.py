"""A training that takes a second: few small images, and stand-ins for what is slow to trace."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.config import RunConfig, override
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.mvtec import Sample
from ssae_tf.models.blocks import BatchNormalization, DilatedConv2D
from ssae_tf.models.gated import Blend
from ssae_tf.progress import Reporter
from ssae_tf.training.loop import Trainer

TINY = {
    "model.width": 0.0625,
    "training.stages": [{"size": 16, "batch_size": 2, "steps": 2}],
    "training.evaluations": 1,
    "scoring.smoothing_sigma": 1.0,
}


# What makes that training one of a gated network.
GATED = {
    "model.answer": "gated",
    "training.stages": [{"size": 32, "batch_size": 2, "steps": 2}],
    "scoring.evidence": "gate",
}


@pytest.fixture(scope="session")
def configure():
    """Settings of a tiny training with some changed, by dotted name."""

    def make(changes=None, *, gated=False):
        return override(RunConfig(), {**TINY, **(GATED if gated else {}), **(changes or {})})

    return make


@pytest.fixture(scope="session")
def caches(tmp_path_factory):
    """Four images to train on and two to select with, 24 × 32."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    samples = []
    for k in range(6):
        noise = ndimage.gaussian_filter(rng.random((24, 32, 3)), (2, 2, 0))
        image = 255 * (noise - noise.min()) / (noise.max() - noise.min())
        path = folder / f"{k}.png"
        assert cv2.imwrite(str(path), image.astype(np.uint8))
        samples.append(Sample(path, "good"))
    return ImageCache(samples[:4]), ImageCache(samples[4:])


def small_network(config, training_size, *, seed, mean_colour, channels=3):
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


def negative_square(x, seed, config=None):
    """Makes a square of 5 × 5 pixels negative, in place of X -> (X̂, M)."""
    # A place for every seed and slot, without random numbers, which are slow to trace.
    slots = tf.range(tf.shape(x)[0])[:, None, None, None]
    top = tf.math.floormod(3 * slots + 5 * seed[0] + 3 * seed[1], 9)
    left = tf.math.floormod(4 * slots + 2 * seed[0] + 7 * seed[1], 10)
    rows, columns = tf.range(x.shape[1])[:, None, None], tf.range(x.shape[2])[:, None]
    inside = (rows >= top) & (rows < top + 5) & (columns >= left) & (columns < left + 5)
    mask = tf.broadcast_to(tf.cast(inside, tf.float32), tf.shape(x))
    return tf.where(mask > 0, 1.0 - x, x), mask


@pytest.fixture(scope="session")
def put_stand_ins():
    """Lets trainings run with stand-ins for the network and the corruptions."""

    def put(monkeypatch):
        monkeypatch.setattr("ssae_tf.training.loop.autoencoder", small_network)
        for name in ("step.corrupt", "selection.corrupt", "selection.held_out"):
            monkeypatch.setattr(f"ssae_tf.training.{name}", negative_square)

    return put


@pytest.fixture
def small(put_stand_ins, monkeypatch):
    """The network that stands in for Table 1; trainings run with it."""
    put_stand_ins(monkeypatch)
    return small_network


@pytest.fixture
def trainer(caches, configure, small):
    """Makes a trainer of the small network; the first argument changes settings."""

    def make(changes=None, reporter=None):
        return Trainer(*caches, configure(changes), reporter or Reporter(quiet=True))

    return make
