"""Weights by layer name in one .npz file, the same under Keras 2 and Keras 3."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssae_tf.errors import RunError, one_line
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
    variables, arrays = named_variables(model), load_arrays(path)
    for name in arrays:
        if name not in variables:
            raise RunError(f"{path}: has a weight {name!r}, so it belongs to another network.")
    assign(variables, arrays, path)


def assign(variables: dict[str, tf.Variable], arrays: dict[str, np.ndarray], path: Path) -> None:
    """Gives variables the values of arrays of the same names.

    Raises:
        RunError: names, shapes or types differ, or values are not finite; nothing was assigned
            then.
    """
    values = {name: _fitting(name, one, arrays, path) for name, one in variables.items()}
    for name, variable in variables.items():
        variable.assign(values[name])


def _fitting(
    name: str, variable: tf.Variable, arrays: dict[str, np.ndarray], path: Path
) -> np.ndarray:
    if name not in arrays:
        raise RunError(f"{path}: has no weight {name!r}, so it belongs to another network.")
    array, dtype = arrays[name], tf.as_dtype(variable.dtype).as_numpy_dtype
    if tuple(variable.shape) != array.shape:
        raise RunError(
            f"{path}: weight {name!r} has shape {array.shape}, the network of "
            f"config.json expects {tuple(variable.shape)}."
        )
    # The number of steps is int32 or int64, by the Keras version.
    if array.dtype.kind != np.dtype(dtype).kind or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise RunError(f"{path}: weight {name!r} has dtype {array.dtype}, expected {dtype}.")
    with np.errstate(over="ignore"):
        value = array.astype(dtype)
    # A rectifier may turn NaN into 0, and the map would look like a good image's.
    if not np.isfinite(value).all():
        raise RunError(f"{path}: weight {name!r} has NaN or infinity: the file is damaged.")
    if name.endswith("variance") and (value < 0).any():
        raise RunError(f"{path}: weight {name!r} has negative values: the file is damaged.")
    return value


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes named arrays as .npz; `path` is taken as it is."""
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads a .npz file whole.

    Raises:
        RunError: no such file, or not a complete .npz file of `save_arrays`.
    """
    try:
        # Opened here, because NumPy leaves a file open that it fails to read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            _check_size(arrays.zip, path)
            return {name: arrays[name] for name in arrays.files}
    # NumPy and zipfile raise about ten kinds, MemoryError for a claimed size among them.
    except Exception as error:
        raise RunError(f"{path}: can't be read as weights ({one_line(error)}).") from None


def _check_size(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuses what unpacks to more than the file holds: nothing here is written compressed."""
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > path.stat().st_size:
        raise ValueError(f"{unpacked} bytes are said to be in {path.stat().st_size}")
