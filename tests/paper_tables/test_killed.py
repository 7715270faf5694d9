"""`ssae-tf benchmark` that a signal ends: what it says, and what the same command does again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ssae_tf.models.weights import load_arrays

STEPS = 90


def _start(arguments: list[str], out: Path) -> subprocess.Popen[str]:
    stages = json.dumps([{"size": 16, "batch_size": 2, "steps": STEPS}])
    settings = ["--set", f"training.stages={stages}", "--set", "training.evaluations=30"]
    return subprocess.Popen(
        [sys.executable, "-m", "ssae_tf", "benchmark", *arguments[1:], *settings, "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def _steps(state: Path) -> int:
    return int(load_arrays(state)["step"]) if state.exists() else 0


def _ended_by(
    number: signal.Signals, process: subprocess.Popen[str], state: Path
) -> tuple[str, str]:
    """Sends a signal once there is more to go on from than before."""
    before = _steps(state)
    while _steps(state) <= before and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate(timeout=120)


def test_the_same_command_goes_on(fit_arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "bench"
    run = out / "ssae" / "tile"
    state = run / "checkpoints" / "state.npz"

    terminated = _start(fit_arguments, out)
    printed, told = _ended_by(signal.SIGTERM, terminated, state)
    assert (terminated.returncode, printed) == (128 + signal.SIGTERM, ""), told
    assert told.splitlines()[-1] == (
        f"Interrupted; all is kept in {out}. The same command again goes on."
    )
    first = _steps(state)

    killed = _start(fit_arguments, out)
    printed, told = _ended_by(signal.SIGKILL, killed, state)
    assert (killed.returncode, printed) == (-signal.SIGKILL, "")
    assert f"{run}: was interrupted, training goes on." in told
    assert first < _steps(state) < STEPS

    process = _start(fit_arguments, out)
    printed, told = process.communicate(timeout=240)
    assert process.returncode == 0, told
    assert f"{run}: was interrupted, training goes on." in told
    assert "Tile" in printed
    with (run / "history.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == list(range(3, STEPS + 1, 3))
    assert json.loads((out / "benchmark.json").read_text())["categories"] == ["tile"]
    assert (out / "tables.md").is_file()
    # Neither locks nor temporary files.
    assert [path for path in out.rglob(".*") if path.is_file()] == []
