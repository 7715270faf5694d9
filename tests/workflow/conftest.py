"""Fits of a copy of the sample data in which nothing is trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf import workflow
from ssae_tf.config import RunConfig, from_dict
from stand_ins import Listener, put_grey_network
from untrained import Stub


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> type[Stub]:
    """F(X) = 0.5 wherever a network would be trained or loaded; sheets are empty files."""
    Stub.network_of = staticmethod(put_grey_network(monkeypatch, Stub))
    return Stub


@pytest.fixture
def root(sample_root: Path, tmp_path: Path) -> Path:
    """A copy of the sample data."""
    return shutil.copytree(sample_root, tmp_path / "data")


@pytest.fixture
def config() -> RunConfig:
    """Maps as they are, and three images to calibrate on."""
    stage = {"size": 16, "batch_size": 1, "steps": 2}
    return from_dict(
        {
            "scoring": {"smoothing_sigma": 0.0, "inspection_size": "native"},
            "data": {"calibrate_fraction": 0.25},
            "training": {"stages": [stage]},
        }
    )


@pytest.fixture
def fit(
    root: Path, config: RunConfig, untrained: type[Stub], tmp_path: Path, listener: Listener
) -> Callable[..., workflow.Fitted]:
    """Fits the copy of the sample data into tmp_path/run; arguments change what `fit` gets."""

    def call(**changes: Any) -> workflow.Fitted:
        arguments = {"data": root, "out": tmp_path / "run", "config": config, **changes}
        return workflow.fit(reporter=listener, **arguments)

    return call
