"""What a wider network brings and costs: `quick` at several widths, each trained for equal steps.

Each width is fitted and exported by the commands. The figures are those of the test set; latencies
are of a picture of SIDE², from pixels to verdict, batch 1, all widths in turn: the detector, and
the OpenVINO artefact.

    python benchmarks/widths.py --data ROOT --category NAME [--widths 0.125 0.25 0.5 1]
        [--steps 2400] [--side 256] [--rounds 7] [--work FOLDER] [--out FILE.json]

A run that is in FOLDER already is not trained again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from figures import print_metrics, write_result
from interleaved import Timed, here, matrix_product, medians, product_rate

from ssae_tf.detector import Detector
from ssae_tf.export.artefact import Artefact
from ssae_tf.files import read_json
from ssae_tf.workflow import METRICS_FILE

FIGURES = ("image_auroc", "pixel_auroc", "aupro", "balanced_accuracy")
_CEILING = "matrix product"


def trained(arguments: argparse.Namespace, width: float) -> Path:
    """The run of a width, with its artefact beside it."""
    run = arguments.work / f"width-{width:g}"
    artefact = run / "export" / "openvino"
    if not (run / METRICS_FILE).is_file():
        fit = ["fit", "--data", str(arguments.data), "--category", arguments.category]
        fit += ["--preset", "quick", "--steps", str(arguments.steps), "--seed", "0"]
        _command([*fit, "--set", f"model.width={width:g}", "--out", str(run)])
    if not artefact.is_dir():
        _command(["export", str(run), "--format", "openvino", "--out", str(artefact)])
    return run


def _command(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "ssae_tf", *arguments], check=True, stdout=sys.stderr)


def main() -> None:
    """Prints Markdown tables, and keeps the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--category", required=True)
    parser.add_argument("--widths", type=float, nargs="+", default=[0.125, 0.25, 0.5, 1.0])
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", type=Path, default=Path("runs/widths"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    names = [f"{width:g}" for width in arguments.widths]
    runs = {
        name: trained(arguments, width) for name, width in zip(names, arguments.widths, strict=True)
    }
    x = np.random.default_rng(0).random((arguments.side, arguments.side, 3), np.float32)
    timed: dict[tuple[str, str], Timed] = {("", _CEILING): here(matrix_product())}
    for name, run in runs.items():
        detector, artefact = Detector.load(run), Artefact.load(run / "export" / "openvino")
        timed[name, "detector"] = here(lambda one=detector: one.predict(x))
        timed[name, "openvino"] = here(lambda one=artefact: one.predict(x))
    seconds = medians(timed, arguments.rounds)
    rate = product_rate(seconds.pop(("", _CEILING)))
    rows: dict[str, Any] = {}
    for name, run in runs.items():
        figures = {key: read_json(run / METRICS_FILE)[key] for key in FIGURES}
        latency = {f"{kind}_seconds": seconds[name, kind] for kind in ("detector", "openvino")}
        rows[name] = {**figures, **latency}
    print_metrics("width", rows, FIGURES)
    print("\n| width | detector, ms | OpenVINO, ms |\n|---|---|---|")
    for name, row in rows.items():
        cells = (f"{1e3 * row[f'{kind}_seconds']:.0f}" for kind in ("detector", "openvino"))
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"Matrix product: {rate / 1e9:.0f} GFLOP/s")
    content = {
        "category": arguments.category,
        "steps": arguments.steps,
        "side": arguments.side,
        "matrix_product_flop_per_second": rate,
        "widths": rows,
    }
    write_result(arguments.out, content, DATA=arguments.data, RUNS=arguments.work)


if __name__ == "__main__":
    main()
