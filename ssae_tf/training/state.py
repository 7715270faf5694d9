"""The state of a training on disk: everything needed to go on at the saved step."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssae_tf.errors import RunError
from ssae_tf.files import atomic
from ssae_tf.models.weights import assign, load_arrays, named_variables, save_arrays


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Attributes:
        step: finished steps.
        best_criterion: of the best checkpoint so far; infinity before there is one.
        seconds: spent, in all sessions together.
    """

    step: int = 0
    best_criterion: float = math.inf
    seconds: float = 0.0


def _variables(
    model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer
) -> dict[str, tf.Variable]:
    # The optimiser's variables have a fixed order, and names that differ between Keras versions.
    # Only Keras 3 has the learning rate among them, which every step sets anyway.
    variables = [v for v in optimizer.variables if v is not optimizer.learning_rate]
    return {f"model/{name}": variable for name, variable in named_variables(model).items()} | {
        f"optimizer/{index:04d}": variable for index, variable in enumerate(variables)
    }


def save_state(
    path: Path, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer, progress: Progress
) -> None:
    """Writes the state of a training."""
    arrays = {name: np.asarray(v) for name, v in _variables(model, optimizer).items()}
    for field in dataclasses.fields(Progress):
        arrays[field.name] = np.asarray(getattr(progress, field.name))
    with atomic(path) as temporary:
        save_arrays(temporary, arrays)


def load_state(
    path: Path, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer
) -> Progress:
    """Puts a saved state back.

    Returns:
        How far the training had come.

    Raises:
        RunError: the file is missing, broken, or of another network or optimiser.
    """
    arrays = load_arrays(path)
    progress = _progress(arrays, path)
    assign(_variables(model, optimizer), arrays, path)
    return progress


def _progress(arrays: dict[str, np.ndarray], path: Path) -> Progress:
    values = [arrays.get(field.name) for field in dataclasses.fields(Progress)]
    if any(value is None or value.shape != () or value.dtype.kind not in "fiu" for value in values):
        raise RunError(f"{path}: has no step, criterion and seconds, so it is no training's state.")
    step, best, seconds = (value.item() for value in values if value is not None)
    if not (isinstance(step, int) and step >= 0 and best > -math.inf and 0 <= seconds < math.inf):
        raise RunError(
            f"{path}: expected a number of steps, a criterion and seconds. Received: {step}, "
            f"{best} and {seconds}."
        )
    return Progress(step, best, seconds)
