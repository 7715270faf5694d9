"""All that needs an NVIDIA GPU, in one run: engines built, compared with the detector, timed.

For a host with a GPU and TensorRT: TensorFlow 2.15 to 2.17 with TensorRT 8.6 for TF-TRT, or any
TensorFlow with `pip install 'ssae-tf[trt]'` or `'ssae-tf[trt-rtx]'` for engines through ONNX. Each
export compares its engine with the detector in the TensorRT runtime, and fails on a difference.

    python examples/check_tensorrt.py RUN [--size 512] [--rounds 50] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.export.artefact import Artefact
from ssae_tf.runtime.machine import machine

WANTED = (
    ("trt", "fp32"),
    ("trt", "fp16"),
    ("trt-rtx", "fp32"),
)


def check(
    run: Path, name: str, precision: str, size: int, rounds: int, out: Path
) -> dict[str, Any]:
    """One export in a process of its own, and its latency: what happened, as a record."""
    command = [sys.executable, "-m", "ssae_tf", "export", str(run), "--format", name]
    command += ["--precision", precision, "--out", str(out), "--quiet"]
    for option, shape in (
        ("--min-shape", (1, 32, 32)),
        ("--opt-shape", (1, size, size)),
        ("--max-shape", (4, 2 * size, 2 * size)),
    ):
        command += [option, *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    record: dict[str, Any] = {
        "format": name,
        "precision": precision,
        "command": " ".join(["ssae-tf", *command[3:]]),
        "exit_code": done.returncode,
        "said": done.stderr.strip(),
    }
    if done.returncode != 0:
        return record
    artefact = Artefact.load(out)
    record["metadata"] = artefact.metadata
    x = np.full((1, size, size, 3), 0.5, np.float32)
    times = []
    for _ in range(rounds + 5):
        begin = time.perf_counter()
        artefact.run(x)
        times.append(time.perf_counter() - begin)
    record["median_seconds"] = statistics.median(times[5:])
    return record


def main() -> None:
    """Prints a line for each, and fails if one of them did."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for name, precision in WANTED:
            out = Path(folder) / f"{name}-{precision}"
            records.append(
                check(arguments.run, name, precision, arguments.size, arguments.rounds, out)
            )
            shown = {key: records[-1].get(key) for key in ("exit_code", "said", "median_seconds")}
            parity = records[-1].get("metadata", {}).get("parity", {})
            shown |= {key: parity.get(key) for key in ("map_largest", "n_flipped", "n")}
            print(name, precision, json.dumps(shown), flush=True)
    if arguments.out:
        found = {"machine": machine(), "results": records}
        arguments.out.write_text(json.dumps(found, indent=2), encoding="utf-8")
    sys.exit(0 if all(record["exit_code"] == 0 for record in records) else 1)


if __name__ == "__main__":
    main()
