"""A benchmark that is begun anew: every run stays until the one that replaces it is complete."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig
from ssae_tf.errors import RunError
from ssae_tf.paper_tables.plan import Plan
from ssae_tf.paper_tables.results import Results
from ssae_tf.runtime.lock import locked
from ssae_tf.training.loop import TrainingDiverged, TrainingInterrupted

STOPPED = TrainingInterrupted(2, 4, "run", 2)


@pytest.fixture
def plans(
    make_plan: Callable[..., Plan], config: RunConfig
) -> Callable[[float | None], tuple[Plan, Plan]]:
    """A plan, and one of other settings."""

    def make(minutes: float | None) -> tuple[Plan, Plan]:
        changed = config_module.override(config, {"training.seed": 4})
        one = {"minutes": minutes, "categories": ("tile",)}
        return make_plan(**one), make_plan(changed, **one)

    return make


def _seed(folder: Path) -> int:
    return config_module.load(folder / "config.json").training.seed


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("minutes", [None, 3.0])
def test_a_run_stays_until_the_new_one_is_complete(
    minutes: float | None,
    recorded: bool,
    go: Callable[..., Results],
    plans: Callable[[float | None], tuple[Plan, Plan]],
    machine: Any,
    out: Path,
) -> None:
    first, second = plans(minutes)
    go(first)
    old = out / "ssae" / "tile"
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    if minutes:
        # Where the settings differ and the minutes are the same, steps stay too.
        (out / "benchmark.json").write_text('{"study": null, "budgets": {}}')
    machine.raises = {"ssae/tile": STOPPED}
    machine.trained.clear()
    with pytest.raises(TrainingInterrupted):
        go(second, overwrite=True)
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before
    if not recorded:
        # As it is when it was killed.
        record = json.loads((out / "benchmark.json").read_text()) | {"budgets": {}}
        (out / "benchmark.json").write_text(json.dumps(record))
    machine.raises.clear()
    results = go(second, overwrite=True)
    steps = machine.trained[0][1]
    assert machine.trained == [
        ("ssae/tile", steps, False),
        ("ssae/tile", steps, True),
        ("ae-l2/tile", steps, False),
    ]
    assert (results.measured, _seed(old)) == (2, 4)
    assert {path.name for path in (out / "ssae").iterdir()} == {"tile"}
    machine.trained.clear()
    assert go(second).measured == 2
    assert machine.trained == []


def test_one_that_was_stopped_is_not_taken_for_other_settings(
    go: Callable[..., Results],
    plans: Callable[[float | None], tuple[Plan, Plan]],
    machine: Any,
    out: Path,
) -> None:
    first, second = plans(None)
    go(first)
    machine.raises = {"ssae/tile": STOPPED}
    with pytest.raises(TrainingInterrupted):
        go(second, overwrite=True)
    machine.raises.clear()
    machine.trained.clear()
    # The old ones are complete, and those of this plan.
    assert go(first).measured == 2
    assert machine.trained == []
    assert _seed(out / "ssae" / "tile") == 0


def test_one_that_fails_leaves_the_old_one(
    go: Callable[..., Results],
    plans: Callable[[float | None], tuple[Plan, Plan]],
    machine: Any,
    out: Path,
) -> None:
    first, second = plans(3.0)
    go(first)
    (out / "benchmark.json").write_text('{"study": null, "budgets": {}}')
    machine.raises = {"ssae/tile": TrainingDiverged("Training diverged.")}
    results = go(second, overwrite=True)
    assert results.failed == {("ssae", "tile"): "Training diverged."}
    assert (_seed(out / "ssae" / "tile"), _seed(out / "ae-l2" / "tile")) == (0, 4)
    # Another time both have as many steps.
    machine.raises.clear()
    machine.trained.clear()
    again = go(second, overwrite=True)
    assert [name for name, _, _ in machine.trained] == ["ssae/tile"]
    stages = {
        config_module.load(out / m / "tile" / "config.json").training.steps
        for m in ("ssae", "ae-l2")
    }
    assert (again.measured, len(stages)) == (2, 1)


def test_what_holds_something_foreign_is_refused_before_anything_is_trained(
    go: Callable[..., Results],
    plans: Callable[[float | None], tuple[Plan, Plan]],
    machine: Any,
    out: Path,
) -> None:
    first, second = plans(None)
    go(first)
    notes = out / "ae-l2" / "tile" / "notes.txt"
    notes.write_text("mine")
    machine.trained.clear()
    # The second of the two runs that differ.
    with pytest.raises(RunError, match=r"notes\.txt: is none of the files of a run, so "):
        go(second, overwrite=True)
    assert (machine.trained, notes.read_text()) == ([], "mine")


def test_one_benchmark_at_a_time_in_a_folder(
    go: Callable[..., Results],
    plans: Callable[[float | None], tuple[Plan, Plan]],
    machine: Any,
    out: Path,
) -> None:
    first, _ = plans(None)
    out.mkdir()
    with locked(out, "ssae-tf benchmark"), pytest.raises(RunError) as caught:
        go(first)
    assert "out: `ssae-tf benchmark` (process " in str(caught.value)
    assert machine.trained == []
    assert go(first).measured == 2
