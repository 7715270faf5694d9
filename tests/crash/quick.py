"""Fits that only write files: by the real code, in its real order, without network and images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf import calibration, workflow
from ssae_tf import detector as detector_module
from ssae_tf.config import RunConfig
from ssae_tf.corruption import held_out
from ssae_tf.data.split import split_normal
from ssae_tf.detector import Calibration, Detector
from ssae_tf.files import atomic, write_json, write_text
from ssae_tf.models.weights import load_arrays, load_weights, save_arrays, save_weights
from ssae_tf.preparation import Prepared
from stand_ins import negative_corner


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

    def fit_to_time(self, seconds: float | None) -> tuple[RunConfig, float]:
        return self.config, 1.0

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

    def prepare(found: Any, config: RunConfig, reporter: Any, ignore_mask: Any) -> Prepared:
        nothing: Any = None
        return Prepared(
            found, split_normal(found, 0, 0.1, 0.25), nothing, nothing, config, ignore_mask
        )

    def calibrated(detector: Detector, *_: Any, **__: Any) -> Detector:
        area = detector.config.min_area or 1
        threshold = float(detector.config.training.seed)
        return detector.replace(calibration=Calibration(threshold, area, (threshold,)))

    def evaluate(
        detector: Detector, found: Any, out: Path, reporter: Any, run: Any
    ) -> dict[str, Any]:
        metrics = {"threshold": float(detector.config.training.seed)}
        write_json(out / "metrics.json", metrics)
        (out / "sheets").mkdir(exist_ok=True)
        (out / "sheets" / "good.png").write_bytes(b"a sheet")
        write_text(out / "verdicts.csv", "path\n")
        write_text(out / "report.html", "<!doctype html>\n")
        return metrics

    change(workflow, "prepare", prepare)
    change(workflow, "Trainer", lambda train, select, config, *_: Trainer(config))
    for module in (workflow, calibration):
        change(module, "calibrated", calibrated)
    change(workflow, "evaluate_detector", evaluate)
    change(held_out, "held_out", negative_corner)
    change(detector_module, "_compiled", lambda *_: lambda x, *_: (x, x[..., 0]))
    change(detector_module, "load_network", network)


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
