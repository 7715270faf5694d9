"""A training that takes a second: few small images, and stand-ins for what is slow to trace."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
import pytest
from scipy import ndimage

from ssae_tf.config import RunConfig, override
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.mvtec import Sample
from ssae_tf.progress import Reporter
from ssae_tf.training.loop import Trainer
from stand_ins import negative_square, small_network

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
