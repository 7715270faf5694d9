"""What a benchmark has found so far, and its averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ssae_tf.config import Stage, to_dict
from ssae_tf.paper_tables.plan import Plan

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Attributes:
        metrics: the content of its metrics.json; None when it failed.
        error: why it failed, one sentence.
        traceback: of an exception that nobody foresaw.
        sheets: its images, relative to the benchmark's folder.
    """

    metrics: Mapping[str, Any] | None = None
    error: str | None = None
    traceback: str | None = None
    sheets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Budget:
    """How many steps the minutes asked for are, in one category.

    Attributes:
        minutes: that were asked for.
        method: whose training was timed.
        stages: with their numbers of steps; None while they are not known.
    """

    minutes: float
    method: str
    stages: tuple[Stage, ...] | None = None


@dataclass
class Results:
    """The state of a benchmark.

    Attributes:
        plan: what is to be done.
        outcomes: (method, category) -> what became of it; runs that are still to come are missing.
        budgets: category -> steps, where minutes were asked for.
        images: category -> its numbers of good training, good test and defective test images.
    """

    plan: Plan
    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    budgets: dict[str, Budget] = field(default_factory=dict)
    images: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def failed(self) -> dict[tuple[str, str], str]:
        """(method, category) -> why it failed."""
        return {run: outcome.error for run, outcome in self.outcomes.items() if outcome.error}

    @property
    def measured(self) -> int:
        """How many runs have metrics."""
        return sum(outcome.metrics is not None for outcome in self.outcomes.values())

    @property
    def pending(self) -> list[tuple[str, str]]:
        """The (method, category) that are still to come."""
        runs = [(method.name, category) for method, category in self.plan.runs]
        return [run for run in runs if run not in self.outcomes]

    def figure(self, method: str, category: str, metric: str) -> float | None:
        """One figure of a run's metrics.json; None where there is none."""
        outcome = self.outcomes.get((method, category))
        if outcome is None or outcome.metrics is None:
            return None
        value = outcome.metrics.get(metric)
        return None if value is None else float(value)

    def average(
        self, method: str, categories: Sequence[str], metric: str
    ) -> tuple[float | None, int]:
        """The mean over those of some categories that have the figure, and how many these are."""
        figures = [self.figure(method, category, metric) for category in categories]
        known = [figure for figure in figures if figure is not None]
        return (sum(known) / len(known) if known else None), len(known)

    def stages(self, category: str) -> tuple[Stage, ...] | None:
        """The stages that all runs of a category have; None while they are not known."""
        if self.plan.minutes is None:
            return self.plan.configs[category].training.stages
        budget = self.budgets.get(category)
        return None if budget is None else budget.stages

    def to_dict(self) -> dict[str, Any]:
        """The content of benchmark.json."""
        plan = self.plan
        return {
            "schema_version": SCHEMA_VERSION,
            "command": list(plan.command),
            "data": str(plan.data),
            "study": plan.study,
            "minutes": plan.minutes,
            "categories": list(plan.categories),
            "methods": {
                method.name: {"about": method.about, "changes": dict(method.changes)}
                for method in plan.methods
            },
            "settings": {name: to_dict(config) for name, config in plan.configs.items()},
            "images": {
                name: dict(zip(("train", "test_good", "test_defective"), counts, strict=True))
                for name, counts in self.images.items()
            },
            "budgets": {name: asdict(budget) for name, budget in self.budgets.items()},
            "results": {
                method.name: {
                    category: _outcome_dict(self.outcomes.get((method.name, category)))
                    for category in plan.categories
                }
                for method in plan.methods
            },
        }


def _outcome_dict(outcome: Outcome | None) -> dict[str, Any]:
    if outcome is None:
        return {"status": "to come"}
    if outcome.error is not None:
        failure = {"status": "failed", "error": outcome.error}
        return failure | ({"traceback": outcome.traceback} if outcome.traceback else {})
    return {"status": "done", "metrics": outcome.metrics, "sheets": list(outcome.sheets)}
