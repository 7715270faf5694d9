"""Weights by layer name in one .npz file, the same under Keras 2 and Keras 3."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssae_tf.errors import RunError
from ssae_tf.files import atomic


def named_variables(model: tf.keras.Model) -> dict[str, tf.Variable]:
    """All weights, trainable or not, by "layer/weight"."""
    return {
        f"{layer.name}/{variable.name.split('/')[-1].split(':')[0]}": variable
        for layer in model.layers
        for variable in layer.weights
    }


def save_weights(model: tf.keras.Model, path: Path) -> None:
    """Writes all weights of a model to `path`, complete or not at all."""
    with atomic(path) as temporary:
        save_arrays(temporary, {name: np.asarray(v) for name, v in named_variables(model).items()})


def load_weights(model: tf.keras.Model, path: Path) -> None:
    """Reads what `save_weights` wrote.

    Raises:
        RunError: no such file, not such a file, or weights of another network.
    """
    assign(named_variables(model), load_arrays(path), path)


def assign(variables: dict[str, tf.Variable], arrays: dict[str, np.ndarray], path: Path) -> None:
    """Gives variables the values of arrays of the same names.

    Raises:
        RunError: names or shapes differ; nothing was assigned then.
    """
    for name, variable in variables.items():
        if name not in arrays:
            raise RunError(f"{path}: has no weight {name!r}, so it belongs to another network.")
        if tuple(variable.shape) != arrays[name].shape:
            raise RunError(
                f"{path}: weight {name!r} has shape {arrays[name].shape}, the network of "
                f"config.json expects {tuple(variable.shape)}."
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes named arrays as .npz; `path` is taken as it is."""
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads a .npz file whole.

    Raises:
        RunError: no such file, or not a complete .npz file.
    """
    try:
        # Opened here, because NumPy leaves a file open that it fails to read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: can't be read as weights ({error}).") from None
