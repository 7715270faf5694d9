"""Accuracy against training time: image and pixel AUROC of what `ssae-tf fit` makes of a budget.

One training for each budget and seed, since the learning rate falls over the whole of it; measured
is the checkpoint that the run chose by itself. Budgets are minutes on two idle cores, turned into
steps by a fixed pace, so that a busy machine changes how long this takes and not what it finds.

    python benchmarks/time_to_accuracy.py --data ROOT --category NAME [--preset quick]
        [--minutes 5 10 20 40] [--pace STEPS_A_MINUTE] [--seeds 0] [--set NAME=VALUE …]
        [--runs FOLDER] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from figures import write_result

from ssae_tf.files import read_json

# Steps a minute on two cores, as `fit` itself estimates them for `quick`.
PACE = {"quick": 120, "best": 120}
FIGURES = ("image_auroc", "pixel_auroc", "aupro")


def fit(arguments: argparse.Namespace, steps: int, seed: int) -> dict[str, Any]:
    """Metrics of one training, in a process of its own, unless a finished run is kept."""
    others = json.dumps([str(arguments.data.resolve()), arguments.set])
    others = hashlib.sha256(others.encode()).hexdigest()[:8]
    name = f"{arguments.category}-{arguments.preset}-{steps}-{seed}-{others}"
    with tempfile.TemporaryDirectory() as folder:
        run = (arguments.runs or Path(folder)) / name
        if (run / "metrics.json").is_file():
            return dict(read_json(run / "metrics.json"))
        command = [sys.executable, "-m", "ssae_tf", "fit", "--quiet"]
        command += ["--data", str(arguments.data), "--category", arguments.category]
        command += ["--preset", arguments.preset, "--steps", str(steps), "--seed", str(seed)]
        command += [text for change in arguments.set for text in ("--set", change)]
        command += ["--out", str(run), "--overwrite"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return dict(read_json(run / "metrics.json"))


def row(minutes: float, steps: int, found: list[dict[str, Any]]) -> str:
    """A line of the Markdown table: the median over seeds, and their range where there are more."""
    cells = []
    for name in FIGURES:
        values = sorted(metrics[name] for metrics in found if metrics[name] is not None)
        text = f"{statistics.median(values):.3f}" if values else "–"
        spread = f" ({values[0]:.3f}–{values[-1]:.3f})" if len(values) > 1 else ""
        cells.append(text + spread)
    return f"| {minutes:g} | {steps} | {' | '.join(cells)} |"


def main() -> None:
    """Prints a Markdown table line by line, and keeps the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--category", required=True)
    parser.add_argument("--preset", choices=list(PACE), default="quick")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 10, 20, 40])
    parser.add_argument("--pace", type=float, help="steps a minute; the preset's by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs, to go on with")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pace = arguments.pace or PACE[arguments.preset]
    print("| minutes | steps | image AUROC | pixel AUROC | AUPRO |\n|---|---|---|---|---|")
    results = []
    for minutes in arguments.minutes:
        steps = max(1, round(minutes * pace))
        found = [fit(arguments, steps, seed) for seed in arguments.seeds]
        results.append({"minutes": minutes, "steps": steps, "runs": found})
        print(row(minutes, steps, found), flush=True)
        if arguments.out:
            settings = vars(arguments).items()
            settings = {name: value for name, value in settings if not isinstance(value, Path)}
            content = {"settings": settings, "pace": pace, "results": results}
            write_result(arguments.out, content, ROOT=arguments.data, RUNS=arguments.runs)


if __name__ == "__main__":
    main()
