"""Weights that come with the package: Table 1 trained on procedural surfaces (pretraining/).

Reproducing a surface and repairing it are much the same skill everywhere. Training that begins
with it has only the category left to learn (docs/training.md has the numbers).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.models.weights import assign, load_arrays, named_variables, save_arrays


def shipped_weights(config: ModelConfig) -> Path | None:
    """The file for a network, or None where the package has none for it."""
    if config.residual:
        return None
    path = Path(__file__).parent / f"width-{config.width:g}.npz"
    return path if path.is_file() else None


def load_shipped(model: tf.keras.Model, path: Path) -> None:
    """Gives a network the weights and batch statistics of such a file.

    Raises:
        RunError: they belong to another network.
    """
    arrays = {name: array.astype(np.float32) for name, array in load_arrays(path).items()}
    assign(named_variables(model), arrays, path)


def write_shipped(weights: Path, path: Path) -> None:
    """Writes the weights of a run as float16, which is what is shipped."""
    save_arrays(
        path, {name: array.astype(np.float16) for name, array in load_arrays(weights).items()}
    )
