"""`ssae-tf benchmark`: what it makes, says and refuses; each option arrives."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from ssae_tf import config as config_module
from ssae_tf.paper_tables import run as run_module
from ssae_tf.paper_tables.plan import Plan
from ssae_tf.paper_tables.results import Outcome, Results
from ssae_tf.training.loop import TrainingInterrupted

Invoke = Callable[..., Any]
FIGURES = dict.fromkeys(
    (
        *("image_auroc", "pixel_auroc", "aupro", "tpr", "tnr"),
        *("balanced_accuracy", "f1_image", "f1_pixel"),
    ),
    0.625,
)


@pytest.fixture
def root(sample_root: Path, tmp_path: Path) -> Path:
    """A root with `tile`, and `broken`, which has nothing to be tested on."""
    shutil.copytree(sample_root / "tile", tmp_path / "data" / "tile")
    shutil.copytree(sample_root / "tile", tmp_path / "data" / "broken")
    shutil.rmtree(tmp_path / "data" / "broken" / "test")
    return tmp_path / "data"


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Plan, Path, dict[str, Any]]]:
    """Has `benchmark` train nothing; gives the arguments of the calls of `run`.

    Each call finds a figure for all runs but those of the category `broken`.
    """
    calls = []

    def run(plan: Plan, out: Path, **arguments: Any) -> Results:
        calls.append((plan, out, arguments))
        results = Results(plan)
        for method, category in plan.runs:
            failed = Outcome(error="No image.")
            results.outcomes[method.name, category] = (
                failed if category == "broken" else Outcome(FIGURES)
            )
        return results

    monkeypatch.setattr(run_module, "run", run)
    return calls


def _finished(run_folder: Path, folder: Path) -> None:
    """Puts a finished run in a benchmark's folder."""
    shutil.copytree(run_folder, folder)
    record = {"study": None, "budgets": {}}
    (folder.parents[1] / "benchmark.json").write_text(json.dumps(record))


def test_the_real_thing(
    invoke: Invoke, fit_arguments: list[str], run_folder: Path, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _finished(run_folder, out / "ssae" / "tile")
    before = {p: p.stat().st_mtime_ns for p in (out / "ssae").rglob("*") if p.is_file()}
    arguments = ["benchmark", *fit_arguments[1:], "--data", root, "--out", out]
    done = invoke(*arguments, "--methods", "ssae,ae-l2")
    assert done.code == 3, done.err
    # One was there, one is trained, two can't be.
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert f"{out / 'ssae' / 'tile'}: is there already, not trained again." in done.err
    config = json.loads((out / "ae-l2" / "tile" / "config.json").read_text())
    assert config["corruption"]["share"] == 0.0
    assert config["objective"] == {"equation": 1, "weight": None, "norm": "l2_squared"}
    assert config["training"]["stages"][0]["steps"] == 6
    reason = [line for line in done.out if line.startswith("- ae-l2 on broken failed: ")]
    assert len(reason) == 1
    assert reason[0].endswith(f"{root / 'broken'}: has no test images (test/<kind>/*).")
    # The run's own process tells how it goes on, and nothing of TensorFlow's start.
    assert any(line.startswith("step 6/6: select loss ") for line in done.err)
    noise = [line for line in done.err if "cuda" in line.lower()]
    assert not noise, noise

    figures = [
        json.loads((out / name / "tile" / "metrics.json").read_text()) for name in ("ssae", "ae-l2")
    ]
    (row,) = [line for line in done.out[:25] if line.startswith("| Tile")]
    assert row.split()[-4:] == [
        *(f"{figures[0]['balanced_accuracy']:.3f}", "|"),
        *(f"{figures[1]['balanced_accuracy']:.3f}", "|"),
    ]
    (row,) = [line for line in done.out[:30] if line.startswith("| broken")]
    assert row.split()[-4:] == ["failed", "|", "failed", "|"]
    page = (out / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'src="([^"]+)"', page)
    assert len(links) == 8
    for link in links:
        assert (out / unquote(link)).read_bytes().startswith(b"\x89PNG")
    assert done.err[-1] == f"Page with images: {out / 'index.html'}"


def test_arguments_arrive(invoke: Invoke, plans: Any, root: Path, tmp_path: Path) -> None:
    arguments = ["benchmark", "--data", root, "--out", tmp_path / "out"]
    done = invoke(*arguments, "--categories", "tile")
    assert done.code == 0, done.err
    plan, out, others = plans[-1]
    assert (plan.data, plan.categories, plan.minutes, plan.study) == (root, ("tile",), None, None)
    assert [method.name for method in plan.methods] == ["ssae"]
    assert plan.configs == {"tile": config_module.preset("quick", "tile")}
    assert (out, others["overwrite"], others["reporter"].quiet) == (tmp_path / "out", False, False)
    assert plan.command[0] == "ssae-tf"
    # Said once, though there are two categories.
    done = invoke(*arguments)
    assert done.err == [
        config_module.PRESET_NOTE,
        f"Page with images: {tmp_path / 'out' / 'index.html'}",
    ]
    assert plans[-1][0].categories == ("tile", "broken")
    done = invoke(
        *(*arguments, "--preset", "paper", "--methods", "ae-l2,ssae", "--objective", "3"),
        *("--minutes", "2.5", "--set", "corruption.brightness=0.25", "--overwrite", "--quiet"),
    )
    plan, out, others = plans[-1]
    expected = {"objective.equation": 3, "corruption.brightness": 0.25}
    for name in ("tile", "broken"):
        assert plan.configs[name] == config_module.override(
            config_module.preset("paper", name), expected
        )
    assert [method.name for method in plan.methods] == ["ae-l2", "ssae"]
    assert (plan.minutes, others["overwrite"], others["reporter"].quiet) == (2.5, True, True)
    assert done.err == []
    invoke(*arguments, "--steps", "7", "--seed", "3", "--set", "model.width=0.05")
    config = plans[-1][0].configs["tile"]
    assert (config.training.steps, config.training.seed, config.model.width) == (7, 3, 0.05)
    invoke(*arguments, "--study", "corruption")
    assert plans[-1][0].study == "corruption"
    assert len(plans[-1][0].methods) == 16


def test_tables_on_stdout_and_the_exit_code(
    invoke: Invoke, plans: Any, root: Path, tmp_path: Path
) -> None:
    arguments = ["benchmark", "--data", root, "--preset", "quick", "--out", tmp_path / "out"]
    done = invoke(*arguments, "--quiet")
    assert done.code == 3
    assert done.err == []
    titles = [line for line in done.out if line.startswith("#")]
    assert [title.partition(".")[0] for title in titles] == [
        *("## Table 2", "## Table 3", "## Table 4", "## Image AUROC and AUPRO", "## Notes")
    ]
    assert "- ssae on broken failed: No image." in done.out
    assert invoke(*arguments, "--categories", "tile").code == 0
    done = invoke(*arguments, "--categories", "broken")
    assert (done.code, done.out) == (1, [])
    assert done.err == ["Error: None of the runs could be measured, the first because: No image."]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--minutes", "3", "--steps", "4"], 2, "--minutes and --steps both set"),
        (["--study", "corruption", "--methods", "ssae"], 2, "in place of --methods; give one"),
        (["--study", "colours"], 2, "'colours' is not 'corruption'"),
        (["--study", "corruption", "--objective", "1"], 2, "objective.equation: set by what is"),
        (["--study", "corruption", "--set", "corruption.tint=1"], 2, "corruption.tint: set by"),
        (["--methods", "ae-l2", "--set", "objective.norm=l1"], 2, "objective.norm: set by what"),
        (["--methods", "ae-l2", "--objective", "3"], 2, "objective.equation: set by what is"),
        (["--methods", "ae-l3"], 1, "Unknown method 'ae-l3'. Expected some of: ssae, ae-l2, ae-"),
        (["--categories", "tiel"], 1, "no category 'tiel' (a folder with train/good); found: b"),
        (["--categories", "objects"], 1, "holds none of MVTec AD's objects; found: broken, tile"),
        (["--data", "nowhere"], 1, "nowhere: no such folder."),
        (["--set", "model.width=wide"], 1, "Invalid value for `model.width`"),
        (["--set", "nonsense"], 2, "'nonsense' is not NAME=VALUE"),
        (["--minutes", "0"], 2, "0 is not in the range"),
        (["--objective", "4"], 2, "'4' is not one of"),
    ],
)
def test_what_is_refused(
    arguments: list[str],
    code: int,
    message: str,
    invoke: Invoke,
    plans: Any,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("benchmark", "--data", root, "--preset", "quick", "--out", "out", *arguments)
    assert (done.code, done.out) == (code, [])
    assert done.error.startswith("Error: ")
    assert message in done.error
    assert plans == []
    assert not (tmp_path / "out").exists()


def test_out_is_needed(invoke: Invoke, root: Path) -> None:
    done = invoke("benchmark", "--data", root)
    assert done.code == 2
    assert "Missing option '--out'" in done.error


@pytest.mark.parametrize("error", [TrainingInterrupted(3, 9, "here", 2), KeyboardInterrupt()])
def test_an_interruption(
    error: BaseException,
    invoke: Invoke,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(run_module, "run", run)
    out = tmp_path / "out"
    done = invoke("benchmark", "--data", root, "--preset", "quick", "--out", out)
    assert (done.code, done.out) == (130, [])
    assert done.err == [f"Interrupted; all is kept in {out}. The same command again goes on."]
