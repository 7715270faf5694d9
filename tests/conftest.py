"""What all tests share: seeds, a quiet TensorFlow, a clean environment, the real pictures."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Before anything imports TensorFlow or Matplotlib.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

_SHARED_DATA = Path(os.environ.get("SSAE_TF_DATA") or ROOT.parent / "shared" / "data")


@pytest.fixture(autouse=True)
def _no_settings_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSAE_TF_DATA", "SSAE_TF_VERBOSE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def seed() -> int:
    """The seed that every test starts from."""
    return 7


@pytest.fixture(autouse=True)
def _seeds(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that draw from the global state
    # Tests without tensors should not wait for its import.
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(seed)


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The project folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real pictures, in MVTec AD layout: in `SSAE_TF_DATA` or ../shared/data."""
    if not _SHARED_DATA.is_dir():
        pytest.skip(f"no real pictures in {_SHARED_DATA}; SSAE_TF_DATA may name another folder")
    return _SHARED_DATA
