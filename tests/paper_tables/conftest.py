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
import tensorflow as tf

from ssae_tf import config as config_module
from ssae_tf import detector as detector_module
from ssae_tf.config import RunConfig
from ssae_tf.data.cache import ImageCache
from ssae_tf.evaluation import run as evaluation_run
from ssae_tf.paper_tables import run as run_module
from ssae_tf.paper_tables.methods import METHODS
from ssae_tf.paper_tables.plan import Plan
from ssae_tf.paper_tables.results import Outcome, Results
from ssae_tf.progress import Reporter
from ssae_tf.training.loop import TrainingInterrupted
from ssae_tf.training.schedule import with_steps
from stand_ins import Listener, put_grey_network

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


@dataclasses.dataclass
class Machine:
    """What the stand-in does and did.

    Attributes:
        pace: steps that a minute of training is; doubled after each timing.
        raises: METHOD/CATEGORY -> what its training raises.
        trained: METHOD/CATEGORY, steps, and whether it was gone on with, for each training.
        timed: how often the pace was asked for.
        seen: what tables.md says whenever a training begins.
    """

    pace: int = 10
    raises: dict[str, BaseException] = dataclasses.field(default_factory=dict)
    trained: list[tuple[str, int, bool]] = dataclasses.field(default_factory=list)
    timed: int = 0
    seen: list[str] = dataclasses.field(default_factory=list)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """F(X) = 0.5 wherever a network would be trained or loaded; sheets are empty files."""
    machine = Machine()

    class Trainer:
        def __init__(
            self,
            train: ImageCache,
            select: ImageCache,
            config: RunConfig,
            reporter: Reporter,
            strategy: object,
            start: object = None,
        ) -> None:
            self.config = config

        def fit_to_time(self, seconds: float | None) -> tuple[RunConfig, float]:
            if seconds is not None:
                machine.timed += 1
                steps = machine.pace * seconds / 60 / self.config.training.steps
                training = with_steps(self.config.training, steps)
                self.config = dataclasses.replace(self.config, training=training)
                machine.pace *= 2
            return self.config, 1.0

        def train(self, folder: Path, *, resume: bool = False) -> tf.keras.Model:
            # What is to replace a run is made in .NAME.new.
            name = f"{folder.parts[-2]}/{folder.name.removeprefix('.').removesuffix('.new')}"
            machine.trained.append((name, self.config.training.steps, resume))
            tables = folder.parents[1] / "tables.md"
            machine.seen.append(tables.read_text(encoding="utf-8") if tables.exists() else "")
            error = machine.raises.get(name)
            if isinstance(error, TrainingInterrupted):
                (folder / "checkpoints").mkdir()
                (folder / "checkpoints" / "state.npz").write_bytes(b"")
            if error is not None:
                raise error
            return network_of(self.config)

    network_of = put_grey_network(monkeypatch, Trainer)
    # As many maps are traced as there are detectors.
    traced: dict[Any, Any] = {}

    def compiled(model: Any, config: Any) -> Any:
        if config.scoring not in traced:
            traced[config.scoring] = compile_(model, config)
        return traced[config.scoring]

    compile_ = detector_module._compiled
    monkeypatch.setattr(detector_module, "_compiled", compiled)
    # A third of a run's time, which no benchmark looks at; the real training has it.
    monkeypatch.setattr(evaluation_run, "_projection", lambda *_: {})
    return machine


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def go(out: Path, listener: Listener) -> Callable[..., Results]:
    """Runs a plan into `out`."""

    def call(plan: Plan, **arguments: Any) -> Results:
        return run_module.run(plan, out, isolated=False, reporter=listener, **arguments)

    return call
