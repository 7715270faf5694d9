"""The runs of a benchmark: what is trained, what is kept, and what a failure costs.

Training is a stand-in that leaves a network which answers mid-grey; all the rest is real.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig
from ssae_tf.errors import ConfigError, RunError
from ssae_tf.paper_tables.methods import METHODS, corruption_study
from ssae_tf.paper_tables.plan import Plan
from ssae_tf.paper_tables.results import Results
from ssae_tf.paper_tables.run import run
from ssae_tf.training.loop import TrainingDiverged, TrainingInterrupted
from stand_ins import Listener

MakePlan = Callable[..., Plan]


Go = Callable[..., Results]
# Of conftest.py.
Machine = Any
ALL = ["ssae/tile", "ae-l2/tile", "ssae/slate", "ae-l2/slate"]


def _trained(machine: Machine) -> list[str]:
    return [name for name, _, _ in machine.trained]


def _record(out: Path) -> dict[str, Any]:
    return json.loads((out / "benchmark.json").read_text(encoding="utf-8"))


def _snapshot(out: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_every_method_on_every_category(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path
) -> None:
    results = go(make_plan(command=("ssae-tf", "benchmark")))
    assert machine.trained == [(name, 5, False) for name in ALL]
    assert (results.failed, results.pending, results.measured) == ({}, [], 4)
    record = _record(out)
    for name in ALL:
        method, category = name.split("/")
        found = json.loads((out / name / "metrics.json").read_text())
        assert found["n_test"] == 8
        assert results.outcomes[method, category].metrics == found
        assert record["results"][method][category]["status"] == "done"
        assert record["results"][method][category]["metrics"] == found
        assert len(results.outcomes[method, category].sheets) == 4
        for sheet in results.outcomes[method, category].sheets:
            assert (out / sheet).is_file()
    assert json.loads((out / "ae-l2/tile/config.json").read_text())["corruption"]["share"] == 0
    assert json.loads((out / "ssae/tile/config.json").read_text())["objective"]["equation"] == 3
    assert results.images == {"tile": (12, 2, 6), "slate": (12, 2, 6)}
    assert record["schema_version"] == 1
    assert record["command"] == ["ssae-tf", "benchmark"]
    assert (record["minutes"], record["study"], record["budgets"]) == (None, None, {})
    assert record["images"]["slate"] == {"train": 12, "test_good": 2, "test_defective": 6}
    assert record["settings"]["tile"]["objective"]["equation"] == 3
    assert record["methods"]["ae-l2"]["changes"]["model.answer"] == "plain"
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        *("benchmark.json", "index.html", "more.csv", "tables.md"),
        *("table2.csv", "table3.csv", "table4.csv"),
    }


def test_tables_are_written_after_each_run(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path
) -> None:
    go(make_plan())
    pending = [text.partition("Still to come: ")[2].splitlines()[0] for text in machine.seen]
    assert pending == [
        "ssae on tile, ae-l2 on tile, ssae on slate, ae-l2 on slate.",
        "ae-l2 on tile, ssae on slate, ae-l2 on slate.",
        "ssae on slate, ae-l2 on slate.",
        "ae-l2 on slate.",
    ]
    assert "Still to come" not in (out / "tables.md").read_text()


def test_what_is_finished_is_not_trained_again(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path, listener: Listener
) -> None:
    first = go(make_plan())
    before = _snapshot(out / "ssae") | _snapshot(out / "ae-l2")
    machine.trained.clear()
    listener.said.clear()
    again = go(make_plan())
    assert machine.trained == []
    assert again.outcomes == first.outcomes
    assert _snapshot(out / "ssae") | _snapshot(out / "ae-l2") == before
    assert sum("not trained again" in line for line in listener.said) == 4
    # A method more and a category less.
    methods = (*make_plan().methods, METHODS["ae-ssim"])
    go(make_plan(methods=methods, categories=("tile",)))
    assert _trained(machine) == ["ae-ssim/tile"]
    # What is not asked for stays, and comes back without training.
    machine.trained.clear()
    assert go(make_plan()).measured == 4
    assert machine.trained == []


def test_minutes_are_the_same_steps_for_all(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path
) -> None:
    plan = make_plan(minutes=3.0)
    go(plan)
    # 10 steps a minute in the first category; the machine is twice as fast in the second.
    steps = {"tile": 30, "slate": 60}
    assert machine.trained == [(name, steps[name.split("/")[1]], False) for name in ALL]
    assert machine.timed == 2
    budget = _record(out)["budgets"]["tile"]
    assert (budget["minutes"], budget["method"]) == (3.0, "ssae")
    assert [stage["steps"] for stage in budget["stages"]] == [30]
    # A method that joins later takes as many.
    machine.trained.clear()
    go(dataclasses.replace(plan, methods=(METHODS["ae-ssim"], *plan.methods)))
    assert machine.trained == [("ae-ssim/tile", 30, False), ("ae-ssim/slate", 60, False)]
    assert machine.timed == 2
    assert "30 steps for each of the methods: tile." in (out / "tables.md").read_text()


def test_other_minutes_are_another_benchmark(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path
) -> None:
    go(make_plan(minutes=3.0))
    before = _snapshot(out)
    with pytest.raises(RunError) as error:
        go(make_plan(minutes=4.0))
    assert str(error.value) == (
        f"{out / 'ssae' / 'tile'}: was made with another budget than --minutes 4 (and 3 more "
        "runs); --overwrite trains it again, --out chooses another folder."
    )
    with pytest.raises(RunError, match=r"training\.stages 30 steps of 1 at 16², now 5 steps"):
        go(make_plan())
    assert _snapshot(out) == before
    machine.trained.clear()
    machine.pace = 100
    go(make_plan(minutes=4.0), overwrite=True)
    steps = {"tile": 400, "slate": 800}
    assert machine.trained == [(name, steps[name.split("/")[1]], False) for name in ALL]


def test_steps_survive_a_run_that_was_killed(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path
) -> None:
    plan = make_plan(minutes=3.0, categories=("tile",))
    go(plan)
    # As it is when the first training is killed before its first evaluation.
    record = _record(out)
    record["budgets"]["tile"]["stages"] = None
    (out / "benchmark.json").write_text(json.dumps(record))
    shutil.rmtree(out / "ae-l2")
    (out / "ssae" / "tile" / "metrics.json").unlink()
    machine.trained.clear()
    go(plan)
    assert machine.trained == [("ssae/tile", 30, False), ("ae-l2/tile", 30, False)]
    assert machine.timed == 1


def test_other_settings_are_refused_and_nothing_is_touched(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path, config: RunConfig
) -> None:
    go(make_plan())
    before = _snapshot(out)
    changes = {"objective.norm": "l2", "training.seed": 4, "min_area": 9}
    other = make_plan(config_module.override(config, changes))
    machine.trained.clear()
    with pytest.raises(RunError) as error:
        go(other)
    assert str(error.value) == (
        f"{out / 'ssae' / 'tile'}: was made with other settings (min_area None, now 9; "
        "objective.norm l1, now l2 and 1 more) (and 3 more runs); --overwrite trains it again, "
        "--out chooses another folder."
    )
    assert machine.trained == []
    assert _snapshot(out) == before


def test_overwrite_trains_only_what_differs(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path, config: RunConfig
) -> None:
    go(make_plan())
    (out / "ssae" / "tile" / "sheets" / "leftover.png").write_text("")
    machine.trained.clear()
    # The plain autoencoder has a norm of its own.
    go(make_plan(config_module.override(config, {"objective.norm": "l2"})), overwrite=True)
    assert _trained(machine) == ["ssae/tile", "ssae/slate"]
    assert not (out / "ssae" / "tile" / "sheets" / "leftover.png").exists()


def test_one_failure_costs_no_other(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path, listener: Listener
) -> None:
    machine.raises = {
        "ssae/tile": TrainingDiverged("Training diverged at step 2 of 5."),
        "ae-l2/slate": ValueError("bad shape\nin op 7\nof graph 3"),
    }
    results = go(make_plan())
    assert _trained(machine) == ALL
    assert results.failed == {
        ("ssae", "tile"): "Training diverged at step 2 of 5.",
        ("ae-l2", "slate"): "ValueError: bad shape",
    }
    assert results.measured == 2
    assert listener.warned == [
        "ssae on tile failed: Training diverged at step 2 of 5.",
        "ae-l2 on slate failed: ValueError: bad shape",
    ]
    found = _record(out)["results"]
    assert found["ssae"]["tile"] == {
        "status": "failed",
        "error": "Training diverged at step 2 of 5.",
    }
    assert found["ae-l2"]["slate"]["traceback"].startswith("Traceback")
    for name in ("tables.md", "index.html"):
        text = (out / name).read_text()
        assert "ssae on tile failed: Training diverged at step 2 of 5." in text
        assert "ae-l2 on slate failed: ValueError: bad shape" in text
    # The same call again tries the two once more.
    machine.trained.clear()
    machine.raises.clear()
    results = go(make_plan())
    assert _trained(machine) == ["ssae/tile", "ae-l2/slate"]
    assert (results.failed, results.measured) == ({}, 4)


def test_a_category_that_can_not_be_measured(
    go: Go, make_plan: MakePlan, machine: Machine, root: Path, listener: Listener
) -> None:
    shutil.rmtree(root / "tile" / "test")
    results = go(make_plan(minutes=1.0))
    reason = f"{root / 'tile'}: has no test images (test/<kind>/*)."
    assert results.failed == {("ssae", "tile"): reason, ("ae-l2", "tile"): reason}
    assert f"tile is left out: {reason}" in listener.warned
    assert machine.trained == [("ssae/slate", 10, False), ("ae-l2/slate", 10, False)]


def test_an_image_that_can_not_be_read(
    go: Go, make_plan: MakePlan, machine: Machine, root: Path
) -> None:
    next((root / "tile" / "train" / "good").iterdir()).write_bytes(b"no image")
    results = go(make_plan(minutes=1.0))
    assert set(results.failed) == {("ssae", "tile"), ("ae-l2", "tile")}
    assert "tile" in results.failed["ssae", "tile"]
    assert _trained(machine) == ["ssae/slate", "ae-l2/slate"]


@pytest.mark.parametrize("minutes", [None, 3.0])
def test_an_interruption_is_taken_up(
    minutes: float | None, go: Go, make_plan: MakePlan, machine: Machine, out: Path
) -> None:
    machine.raises = {"ssae/tile": TrainingInterrupted(2, 4, "run", 2)}
    with pytest.raises(TrainingInterrupted):
        go(make_plan(minutes=minutes))
    assert _trained(machine) == ["ssae/tile"]
    assert "Still to come: ssae on tile, " in (out / "tables.md").read_text()
    machine.trained.clear()
    machine.raises.clear()
    assert go(make_plan(minutes=minutes)).measured == 4
    steps = {"tile": 30, "slate": 60} if minutes else {"tile": 5, "slate": 5}
    assert machine.trained == [
        (name, steps[name.split("/")[1]], name == "ssae/tile") for name in ALL
    ]


def test_an_interrupted_run_with_other_settings_is_kept(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path, config: RunConfig
) -> None:
    machine.raises = {"ssae/tile": TrainingInterrupted(2, 4, "run", 2)}
    with pytest.raises(TrainingInterrupted):
        go(make_plan())
    with pytest.raises(RunError, match="was made with other settings"):
        go(make_plan(config_module.override(config, {"training.seed": 4})))
    assert (out / "ssae" / "tile" / "checkpoints" / "state.npz").is_file()


def test_images_that_have_moved_or_changed(
    go: Go, make_plan: MakePlan, machine: Machine, root: Path, tmp_path: Path
) -> None:
    machine.raises = {"ae-l2/tile": TrainingInterrupted(2, 4, "run", 2)}
    with pytest.raises(TrainingInterrupted):
        go(make_plan())
    machine.raises.clear()
    machine.trained.clear()
    # A run looks for its images where they were, so that it can't be gone on with.
    root.rename(tmp_path / "elsewhere")
    moved = make_plan(data=tmp_path / "elsewhere")
    go(moved)
    assert machine.trained == [(name, 5, False) for name in ALL[1:]]
    (tmp_path / "elsewhere" / "slate" / "test" / "good").rename(tmp_path / "good")
    with pytest.raises(RunError, match=r"ssae/slate: was made from other images \(and 1 more"):
        go(moved)


def test_broken_figures_are_a_failure(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path
) -> None:
    go(make_plan())
    (out / "ssae" / "tile" / "metrics.json").write_text("[]")
    (out / "ae-l2" / "tile" / "metrics.json").write_text("{")
    results = go(make_plan())
    assert results.failed["ssae", "tile"] == f"{out}/ssae/tile/metrics.json: holds no metrics."
    assert "ae-l2/tile/metrics.json: is not JSON" in results.failed["ae-l2", "tile"]
    assert results.measured == 2


def test_a_run_of_another_version(go: Go, make_plan: MakePlan, machine: Machine, out: Path) -> None:
    go(make_plan())
    (out / "ssae" / "tile" / "config.json").write_text('{"colour": 3}')
    with pytest.raises(RunError, match="ssae/tile: was made by another version; --overwrite"):
        go(make_plan())


def test_the_study(go: Go, make_plan: MakePlan, machine: Machine, out: Path) -> None:
    variants = corruption_study()[:2]
    plan = make_plan(methods=variants, study="corruption", categories=("tile",), minutes=1.0)
    assert go(plan).measured == 2
    assert machine.trained == [("1/tile", 10, False), ("3/tile", 10, False)]
    for equation in (1, 3):
        config = json.loads((out / f"elastic/{equation}/tile/config.json").read_text())
        assert config["objective"]["equation"] == equation
        assert config["corruption"]["cut_out"] == 0
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        *("benchmark.json", "index.html", "study.md", "study.csv")
    }
    assert _record(out)["study"] == "corruption"
    machine.trained.clear()
    assert go(plan).measured == 2
    assert machine.trained == []


@pytest.mark.parametrize("content", ["file", "folder", "record", "list"])
def test_a_folder_that_holds_something_else(
    content: str, go: Go, make_plan: MakePlan, machine: Machine, out: Path
) -> None:
    if content == "file":
        out.write_text("")
    else:
        out.mkdir()
        name = "notes.txt" if content == "folder" else "benchmark.json"
        (out / name).write_text("[]" if content == "list" else '{"study": null}')
    message = "holds no benchmark" if content in ("file", "folder") else "is no record of a bench"
    with pytest.raises(RunError, match=rf"{message}.*; choose another"):
        go(make_plan())
    assert machine.trained == []


def test_a_comparison_does_not_replace_a_study(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path
) -> None:
    go(make_plan())
    before = _snapshot(out)
    with pytest.raises(RunError) as error:
        go(make_plan(methods=corruption_study(), study="corruption"))
    assert str(error.value) == (
        f"{out}: holds a comparison, this is the study 'corruption'; choose another --out."
    )
    assert _snapshot(out) == before


def test_a_real_training_is_gone_on_with(
    run_folder: Path, sample_root: Path, shared_network: None, out: Path, listener: Listener
) -> None:
    folder = out / "ssae" / "tile"
    shutil.copytree(run_folder, folder)
    (out / "benchmark.json").write_text('{"study": null, "budgets": {}}')
    for name in ("metrics.json", "calibration.json", "weights.npz"):
        (folder / name).unlink()
    shutil.rmtree(folder / "sheets")
    history = (folder / "history.csv").read_text()
    config = config_module.load(folder / "config.json")
    plan = Plan(sample_root, ("tile",), (METHODS["ssae"],), {"tile": config})
    results = run(plan, out, isolated=False, reporter=listener)
    assert f"{folder}: was interrupted, training goes on." in listener.said
    assert results.measured == 1
    # All its steps were done before, and are not done again.
    assert (folder / "history.csv").read_text() == history
    assert (folder / "metrics.json").read_text() == (run_folder / "metrics.json").read_text()


def test_settings_that_do_not_fit_show_before_training(
    go: Go, make_plan: MakePlan, machine: Machine, out: Path
) -> None:
    method = dataclasses.replace(METHODS["ae-l2"], changes={"corruption.share": 2.0})
    with pytest.raises(ConfigError, match=r"corruption\.share"):
        go(make_plan(methods=(METHODS["ssae"], method), minutes=1.0))
    assert machine.trained == []
    assert not out.exists()
