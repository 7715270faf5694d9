"""`ssae-tf fit`: what it makes, says and refuses; how it is stopped and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssae_tf import workflow
from ssae_tf.models.weights import load_arrays
from ssae_tf.training.loop import TrainingInterrupted

Invoke = Callable[..., Any]
Fits = list[dict[str, Any]]


def test_results_on_stdout_and_the_rest_on_stderr(fitted: Any, run_folder: Path) -> None:
    assert fitted.code == 0
    lines = fitted.out
    assert lines[-1] == str(run_folder)
    metrics = json.loads((run_folder / "metrics.json").read_text())
    for kind in (*metrics["kinds"], "total"):
        assert sum(line.split()[:1] == [kind] for line in lines) == 1
    (total,) = [line.split() for line in lines if line.split()[:1] == ["total"]]
    assert total[1] == f"{metrics['image_auroc']:.3f}"
    assert "…" not in "".join(fitted.out)

    said = fitted.err
    assert said[0].startswith("tile: 12 good images (8 train, 1 select, 3 calibrate), 8 test")
    assert said[1].startswith("Training takes about ")
    assert any(line.startswith("step 6/6: select loss ") for line in said)
    assert any(line.startswith("Threshold ") for line in said)
    assert said[-3] == f"Sheets of the best, median and worst images: {run_folder / 'sheets'}"
    assert said[-2] == f"Report: {run_folder / 'report.html'}"
    assert said[-1].startswith(f"Next: `ssae-tf predict {run_folder} IMAGES --report found.html`")
    assert f"`ssae-tf export {run_folder} --format FORMAT`" in said[-1]


def test_arguments_arrive(invoke: Invoke, fits: Fits, sample_root: Path, tmp_path: Path) -> None:
    done = invoke("fit", "--data", sample_root, "--preset", "quick")
    assert (done.code, done.out, len(done.err)) == (0, ["made/here"], 1)
    # Without a test set, measuring comes next.
    assert "`ssae-tf evaluate made/here --good DIR --bad DIR`" in done.error
    assert fits[-1] | {"config": None, "reporter": None, "strategy": None} == {
        "data": sample_root,
        "category": None,
        "out": None,
        "config": None,
        "minutes": None,
        "overwrite": False,
        "reporter": None,
        "strategy": None,
    }
    assert not fits[-1]["reporter"].quiet
    invoke(
        *("fit", "--data", sample_root, "--category", "tile", "--out", tmp_path / "run"),
        *("--minutes", "2.5", "--overwrite", "--quiet"),
    )
    assert fits[-1] | {"config": None, "reporter": None, "strategy": None} == {
        "data": sample_root,
        "category": "tile",
        "out": tmp_path / "run",
        "config": None,
        "minutes": 2.5,
        "overwrite": True,
        "reporter": None,
        "strategy": None,
    }
    assert fits[-1]["reporter"].quiet
    assert fits[-1]["config"].category == "tile"


def test_quiet_says_nothing_but_results(
    invoke: Invoke, sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(data: Path, category: str | None, *, reporter: Any, **_: Any) -> workflow.Fitted:
        reporter.say("a line")
        with reporter.task("Working", 1) as task:
            task.advance()
        reporter.warn("odd")
        return workflow.Fitted(tmp_path, None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(workflow, "fit", fit)
    done = invoke("fit", "--data", sample_root)
    assert "a line" in done.err
    done = invoke("fit", "--data", sample_root, "--quiet")
    assert (done.code, done.out, done.err) == (0, [str(tmp_path)], ["Warning: odd"])


def test_the_recipe_is_that_of_the_category(invoke: Invoke, fits: Fits, sample_root: Path) -> None:
    # A plain folder's name is a label of one's own choice.
    good = sample_root / "tile" / "train" / "good"
    invoke("fit", "--data", good, "--category", "pill", "--preset", "quick")
    assert fits[-1]["config"].category == "pill"
    assert not fits[-1]["config"].data.flip_horizontal
    invoke("fit", "--data", good, "--preset", "quick")
    assert fits[-1]["config"].category == "good"
    assert fits[-1]["config"].data.flip_horizontal


def test_data_that_are_not_there(
    invoke: Invoke, sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, message in [
        (["--data", tmp_path / "nowhere"], f"{tmp_path / 'nowhere'}: no such folder."),
        (["--data", tmp_path], f"{tmp_path}: expected categories"),
        (["--data", sample_root, "--category", "tiel"], f"{sample_root}: no category 'tiel'"),
    ]:
        done = invoke("fit", *arguments)
        assert (done.code, done.out, len(done.err)) == (1, [], 1)
        assert done.error.startswith(f"Error: {message}")
    assert "found: tile." in done.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["file", "file/run"])
def test_a_folder_that_can_not_be_made(
    out: str, invoke: Invoke, sample_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = invoke("fit", "--data", sample_root, "--preset", "quick", "--out", tmp_path / out)
    assert (done.code, done.out, len(done.err)) == (1, [], 1)
    assert done.error.startswith(f"Error: {tmp_path / out}: ")
    assert "file" in done.error


def test_resume_takes_no_other_settings(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("fit", "--resume", tmp_path, "--quiet", "--verbose")
    assert done.code == 1
    assert done.error == f"Error: {tmp_path}: has no checkpoints/state.npz to go on from."
    done = invoke(
        *("fit", "--resume", tmp_path, "--objective", "2", "--set", "data.rotate=false"),
        *("--category", "tile", "--steps", "3", "--seed", "1"),
    )
    assert done.code == 2
    assert done.error == (
        "Error: --resume takes all settings from the run; leave out "
        "--category, --steps, --set, --objective, --seed."
    )


def test_an_interruption_is_no_error(
    invoke: Invoke, sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise TrainingInterrupted(3, 9, "here", signal.SIGTERM)

    monkeypatch.setattr(workflow, "fit", stop)
    monkeypatch.setattr(workflow, "resume", stop)
    for arguments in (["--data", sample_root, "--preset", "quick"], ["--resume", tmp_path]):
        done = invoke("fit", *arguments)
        assert (done.code, done.out) == (143, [])
        assert done.err == [
            "Interrupted after step 3 of 9; everything is saved in here. Go on with: ssae-tf fit "
            "--resume here"
        ]


@pytest.mark.skipif(os.name == "nt", reason="no such signals on Windows")
def test_ctrl_c_and_resume_give_what_one_go_gives(
    invoke: Invoke, fit_arguments: list[str], run_folder: Path, project_root: Path, tmp_path: Path
) -> None:
    path = os.pathsep.join([str(project_root), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-m", "ssae_tf", *fit_arguments, "--out", "run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line.rstrip("\n"))
            # Two evaluations are still to come: time enough.
            if line.startswith("step 2/6"):
                process.send_signal(signal.SIGINT)
        out = process.communicate()[0]
    assert process.returncode == 130, said
    assert out == ""
    assert said[-1].startswith("Interrupted after step ")
    assert said[-1].endswith(
        "of 6; everything is saved in run. Go on with: ssae-tf fit --resume run"
    )
    assert not any("Traceback" in line for line in said)
    run = tmp_path / "run"
    assert not (run / "calibration.json").exists()
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]

    # Meanwhile a new fit would keep it.
    done = invoke(*fit_arguments, "--out", run)
    assert done.code == 1
    assert done.error.endswith(f"`ssae-tf fit --resume {run}` goes on with it.")

    done = invoke("fit", "--resume", run)
    assert done.code == 0, done.err
    assert done.out[-1] == str(run)
    for name in ("calibration.json", "metrics.json", "split.json", "config.json"):
        assert (run / name).read_text() == (run_folder / name).read_text()
    for name in ("weights.npz", "checkpoints/best.npz"):
        resumed, straight = load_arrays(run / name), load_arrays(run_folder / name)
        assert resumed.keys() == straight.keys()
        for key, array in straight.items():
            np.testing.assert_array_equal(resumed[key], array, err_msg=key)
