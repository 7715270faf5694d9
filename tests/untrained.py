"""Stands for training in tests of `ssae_tf.workflow`, and what these tests share.

The network answers mid-grey everywhere: the map is then |X − 0.5|, and scores and thresholds can be
computed by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig
from ssae_tf.data.cache import ImageCache
from ssae_tf.progress import Reporter


class Stub:
    """Stands for the trainer."""

    last: Stub
    network_of: Callable[[RunConfig], tf.keras.Model]

    def __init__(
        self,
        train: ImageCache,
        select: ImageCache,
        config: RunConfig,
        reporter: Reporter,
        strategy: tf.distribute.Strategy | None,
        start: Path | None = None,
    ) -> None:
        Stub.last = self
        self.caches = {"train": train, "select": select}
        self.config = config
        self.seconds: float | None = None
        self.resumed = False
        self.start = start

    def fit_to_time(self, seconds: float | None) -> tuple[RunConfig, float]:
        self.seconds = seconds
        if seconds is not None:
            stages = ({"size": 16, "batch_size": 1, "steps": round(seconds)},)
            self.config = config_module.override(self.config, {"training.stages": stages})
        return self.config, 7.0

    def train(self, folder: Path, *, resume: bool = False) -> tf.keras.Model:
        self.resumed = resume
        return Stub.network_of(self.config)


def json_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def write_image(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def opened(map_: np.ndarray, min_area: int) -> float:
    """The image score by trying every level."""
    for level in np.unique(map_)[::-1]:
        _, _, stats, _ = cv2.connectedComponentsWithStats((map_ >= level).astype(np.uint8))
        if stats[1:, cv2.CC_STAT_AREA].max(initial=0) >= min_area:
            return float(level)
    raise AssertionError("no component is large enough")


def bright(level: float, area: int) -> np.ndarray:
    """A grey image with a row of `area` pixels of another level."""
    image = np.full((16, 40, 3), 128, np.uint8)
    image[8, 2 : 2 + area] = round(255 * level)
    return image
