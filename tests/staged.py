"""A training of two stages, and what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.models.weights import load_arrays

# A stage boundary after step 2.
STAGED: dict[str, Any] = {
    "training.stages": [
        {"size": 16, "batch_size": 2, "steps": 2},
        {"size": 24, "batch_size": 1, "steps": 3},
    ],
    "training.evaluations": 3,
    "training.learning_rate": 0.02,
}


def best(folder: Path) -> dict[str, np.ndarray]:
    """The weights that a run keeps."""
    return load_arrays(folder / "checkpoints" / "best.npz")


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Weights are equal but for rounding."""
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-7, err_msg=name)
