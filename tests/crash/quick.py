"""Fits that only write files: by the real code, in its real order, without network and images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf import detector as detector_module
from ssae_tf import workflow
from ssae_tf.config import RunConfig
from ssae_tf.data.split import split_normal
from ssae_tf.detector import Calibration, Detector
from ssae_tf.files import atomic, write_text
from ssae_tf.models.weights import load_arrays, load_weights, save_arrays, save_weights


def network(config: RunConfig, weights: Path | None = None) -> tf.keras.Model:
    """One number, which is the seed."""
    inputs = tf.keras.Input((None, None, 3))
    seed = tf.keras.initializers.Constant(float(config.training.seed))
    model = tf.keras.Model(
        inputs, tf.keras.layers.Conv2D(3, 1, kernel_initializer=seed, name="one")(inputs)
    )
    if weights is not None:
        load_weights(model, weights)
    return model


class Trainer:
    """Writes what training writes, in its order."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def fit_to_time(self, seconds: float | None) -> float:
        return 1.0

    def train(self, folder: Path, *, resume: bool = False) -> tf.keras.Model:
        checkpoints, model = folder / "checkpoints", network(self.config)
        first = int(load_arrays(checkpoints / "state.npz")["step"]) if resume else 0
        (folder / "logs").mkdir(exist_ok=True)
        with (folder / "logs" / f"events.out.tfevents.{first}").open("w") as logs:
            for step in range(first + 1, 3):
                logs.write(f"{step}")
                save_weights(model, checkpoints / "best.npz")
                write_text(folder / "history.csv", f"step\n{step}\n")
                with atomic(checkpoints / "state.npz") as temporary:
                    save_arrays(temporary, {"step": np.asarray(step)})
        load_weights(model, checkpoints / "best.npz")
        return model


def put(change: Callable[[Any, str, Any], None]) -> None:
    """Has fits and calibrations write files only.

    Args:
        change: `setattr`, or that of a test that takes it back.
    """

    def prepare(found: Any, config: RunConfig, reporter: Any) -> Any:
        return found, split_normal(found, 0, 0.1, 0.25), Trainer(config)

    def calibrated(detector: Detector, *_: Any) -> Detector:
        area = detector.config.min_area or 1
        threshold = float(detector.config.training.seed)
        return detector.replace(calibration=Calibration(threshold, area, (threshold,)))

    def evaluate(detector: Detector, found: Any, sheets: Path, reporter: Any) -> dict[str, Any]:
        sheets.mkdir(exist_ok=True)
        (sheets / "good.png").write_bytes(b"a sheet")
        return {"threshold": float(detector.config.training.seed)}

    change(workflow, "_prepare", prepare)
    change(workflow, "calibrated", calibrated)
    change(workflow, "_evaluate", evaluate)
    for module in (workflow, detector_module):
        change(module, "load_network", network)


def seed_of(run: Path) -> int:
    """Which run it is, all of it."""
    detector = Detector.load(run)
    assert detector.calibration is not None
    parts = {
        float(detector.config.training.seed),
        detector.calibration.threshold,
        float(detector.model.get_layer("one").get_weights()[0].flat[0]),
    }
    assert len(parts) == 1, parts
    return int(parts.pop())
