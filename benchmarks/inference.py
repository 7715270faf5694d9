"""What the network of a run costs in inspection: as trained, without dead taps, and as exported.

Batch 1, sizes unknown to the graph, all variants in turn in one process. Beside them stands the
machine's own rate for a large float32 matrix product.

    python benchmarks/inference.py RUN [--sizes 256 512] [--rounds 15] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf.detector import Detector, compiled_network
from ssae_tf.export.latency import machine
from ssae_tf.export.serving import network_of
from ssae_tf.files import write_json
from ssae_tf.models.autoencoder import autoencoder

_PRODUCT = 2048


def main() -> None:
    """Prints a Markdown table of medians, and keeps the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    detector = Detector.load(arguments.run)
    config = detector.config
    trained = autoencoder(config.model, training_size=config.training.stages[0].size)
    trained.set_weights(detector.model.get_weights())
    variants = {
        "as trained": compiled_network(trained),
        "without dead taps (Detector)": detector.network,
        "and batch normalisation folded (as exported)": compiled_network(network_of(detector)),
    }
    rng = np.random.default_rng(0)
    square = tf.constant(rng.random((_PRODUCT, _PRODUCT), dtype=np.float32))
    results: dict[str, Any] = {}
    rates = []
    for size in arguments.sizes:
        x = tf.constant(rng.random((1, size, size, 3), dtype=np.float32))
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        expected = variants["as trained"](x).numpy()
        for index in range(arguments.rounds + 1):
            for name, run in variants.items():
                begin = time.perf_counter()
                answer = run(x).numpy()
                if index:
                    seconds[name].append(time.perf_counter() - begin)
                elif not np.allclose(answer, expected, atol=1e-5):
                    raise SystemExit(f"{name}: another answer.")
            begin = time.perf_counter()
            tf.matmul(square, square).numpy()
            rates.append(2 * _PRODUCT**3 / (time.perf_counter() - begin))
        results[str(size)] = {
            name: {"median": statistics.median(times), "lowest": min(times)}
            for name, times in seconds.items()
        }
    print(f"| | {' | '.join(f'{size}², s | ratio' for size in arguments.sizes)} |")
    print(f"|{'---|' * (1 + 2 * len(arguments.sizes))}")
    for name in variants:
        cells = []
        for size in arguments.sizes:
            found = results[str(size)]
            median = found[name]["median"]
            cells += [f"{median:.3f}", f"{median / found['as trained']['median']:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")
    rate = statistics.median(rates)
    print(f"Matrix product of {_PRODUCT}²: {rate / 1e9:.0f} GFLOP/s")
    if arguments.out:
        write_json(
            arguments.out,
            {
                "command": " ".join(["python", *sys.argv]),
                "machine": machine(),
                "matrix_product_flop_per_second": rate,
                "width": config.model.width,
                "seconds": results,
            },
        )


if __name__ == "__main__":
    main()
