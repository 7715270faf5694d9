"""What the tests of the benchmark share: images, plans, and a network that needs no training.

The network answers mid-grey everywhere; the rest of a run is the real one: its images, threshold,
figures and files.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig
from ssae_tf.paper_tables.methods import METHODS
from ssae_tf.paper_tables.plan import Plan
from ssae_tf.paper_tables.results import Outcome, Results

STAGE = {"size": 16, "batch_size": 1, "steps": 5}


@pytest.fixture
def config() -> RunConfig:
    """The settings that plans start from."""
    changes = {
        "training.stages": [STAGE],
        "data.calibrate_fraction": 0.25,
        "scoring.inspection_size": "native",
        # The network that answers grey has no gate.
        "model.answer": "plain",
        "model.context": 1,
        "model.standardize": False,
        "scoring.evidence": "residual",
        "scoring.outline": None,
        "objective.equation": 3,
    }
    return config_module.override(config_module.preset("quick"), changes)


@pytest.fixture
def root(sample_root: Path, tmp_path: Path) -> Path:
    """A root with `tile`, a category of MVTec AD's names, and `slate`, which is none."""
    for name in ("tile", "slate"):
        shutil.copytree(sample_root / "tile", tmp_path / "data" / name)
    return tmp_path / "data"


@pytest.fixture
def make_plan(root: Path, config: RunConfig) -> Callable[..., Plan]:
    """A plan for `tile` and `slate` with `ssae` and `ae-l2`, but for what is said."""

    def make(config: RunConfig = config, **changes: Any) -> Plan:
        categories = changes.get("categories", ("tile", "slate"))
        plan = Plan(
            data=root,
            categories=categories,
            methods=(METHODS["ssae"], METHODS["ae-l2"]),
            configs={name: dataclasses.replace(config, category=name) for name in categories},
        )
        return dataclasses.replace(plan, **changes)

    return make


def metrics(value: float, **changes: float | None) -> dict[str, Any]:
    """metrics.json's figures, all different: value, value + 0.01 and so on."""
    names = (
        *("image_auroc", "pixel_auroc", "aupro", "tpr", "tnr"),
        *("balanced_accuracy", "f1_image", "f1_pixel"),
    )
    return {name: value + 0.01 * place for place, name in enumerate(names)} | changes


@pytest.fixture
def make_results(make_plan: Callable[..., Plan]) -> Callable[..., Results]:
    """Results of a plan: (method, category) -> a figure, its metrics, or a sentence."""

    def make(found: dict[tuple[str, str], Any], **changes: Any) -> Results:
        results = Results(make_plan(**changes))
        for run, what in found.items():
            if isinstance(what, float):
                results.outcomes[run] = Outcome(metrics(what))
            elif isinstance(what, dict):
                results.outcomes[run] = Outcome(metrics(0.0, **what))
            else:
                results.outcomes[run] = Outcome(error=what)
        return results

    return make
