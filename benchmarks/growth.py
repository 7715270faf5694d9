"""How time and memory of the network grow with picture size, width and batch.

Each point in a process of its own, whose memory is what it grows by at its peak once TensorFlow has
started and run a small picture. Weights are random, dead taps of `quick` left out.

    python benchmarks/growth.py [--sides 128 256 512 1024] [--widths 0.125 0.25 0.5 1]
        [--batches 1 2 4 8] [--rounds 3] [--out FILE.json]

Sides are measured at the second width and batch 1, widths at the second side and batch 1, batches
at the second side and the second width. Slopes are of logarithms, by least squares. Growth with the
number of pictures is in `scoring.py`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from figures import write_result
from memory import peak

Point = tuple[int, float, int]


def run(side: int, width: float, batch: int, rounds: int) -> dict[str, float]:
    """Seconds and MiB of one batch, in this process."""
    import tensorflow as tf

    from ssae_tf.config import override, preset
    from ssae_tf.detector import compiled_network
    from ssae_tf.models.autoencoder import autoencoder, skip_dead_taps

    config = override(preset("quick"), {"model.width": width})
    model = autoencoder(config.model, training_size=config.training.stages[0].size)
    skip_dead_taps(model)
    network = compiled_network(model)
    network(tf.zeros((1, 32, 32, 3))).numpy()
    x = tf.constant(np.random.default_rng(0).random((batch, side, side, 3), np.float32))
    before, times = peak(), []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        network(x).numpy()
        times.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(times[1:]), "mib": peak() - before}


def slope(x: list[float], y: list[float]) -> float:
    """Of log y over log x, by least squares."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def main() -> None:
    """Prints a Markdown table of slopes, and keeps all points as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--widths", type=float, nargs="+", default=[0.125, 0.25, 0.5, 1.0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--point", type=float, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.point:
        side, width, batch = arguments.point
        print(json.dumps(run(int(side), width, int(batch), arguments.rounds)))
        return
    side, width = arguments.sides[1], arguments.widths[1]
    axes: dict[str, list[tuple[float, Point]]] = {
        "side": [(one, (one, width, 1)) for one in arguments.sides],
        "width": [(one, (side, one, 1)) for one in arguments.widths],
        "batch": [(one, (side, width, one)) for one in arguments.batches],
    }
    found: dict[Point, dict[str, float]] = {}
    for point in dict.fromkeys(point for points in axes.values() for _, point in points):
        command = [sys.executable, __file__, "--rounds", str(arguments.rounds), "--point"]
        answer = subprocess.run([*command, *map(str, point)], check=True, stdout=subprocess.PIPE)
        found[point] = json.loads(answer.stdout)
    content: dict[str, Any] = {}
    print("| | slope of time | slope of memory |\n|---|---|---|")
    for name, points in axes.items():
        values = [value for value, _ in points]
        rows = [{name: value, **found[point]} for value, point in points]
        slopes = {key: slope(values, [row[key] for row in rows]) for key in ("seconds", "mib")}
        content[name] = {"points": rows, "slopes": slopes}
        print(f"| {name} | {slopes['seconds']:.2f} | {slopes['mib']:.2f} |")
    write_result(arguments.out, content)


if __name__ == "__main__":
    main()
