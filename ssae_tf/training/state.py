"""The state of a training on disk: everything needed to go on at the saved step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from ssae_tf.files import atomic
from ssae_tf.models.weights import assign, load_arrays, named_variables, save_arrays

_STEP = "step"
_BEST = "best_criterion"


def _variables(
    model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer
) -> dict[str, tf.Variable]:
    # The optimiser's variables have a fixed order, and names that differ between Keras versions.
    variables = list(optimizer.variables)
    return {f"model/{name}": variable for name, variable in named_variables(model).items()} | {
        f"optimizer/{index:04d}": variable for index, variable in enumerate(variables)
    }


def save_state(
    path: Path,
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    step: int,
    best_criterion: float,
) -> None:
    """Writes the state after `step` finished steps.

    Args:
        path: a .npz file.
        model, optimizer: as they are now.
        step: number of finished steps.
        best_criterion: of the best checkpoint so far; infinity before there is one.
    """
    arrays = {name: np.asarray(v) for name, v in _variables(model, optimizer).items()}
    arrays[_STEP] = np.asarray(step)
    arrays[_BEST] = np.asarray(best_criterion)
    with atomic(path) as temporary:
        save_arrays(temporary, arrays)


def load_state(
    path: Path, model: tf.keras.Model, optimizer: tf.keras.optimizers.Optimizer
) -> tuple[int, float]:
    """Puts a saved state back.

    Args:
        path: what `save_state` wrote.
        model, optimizer: built from the same settings.

    Returns:
        The number of finished steps and the best criterion so far.

    Raises:
        RunError: the file is missing, broken, or of another network or optimiser.
    """
    arrays = load_arrays(path)
    assign(_variables(model, optimizer), arrays, path)
    return int(arrays[_STEP]), float(arrays[_BEST])
