"""The network of a run asked in other ways: on the mirrored picture too, and on its own answer.

    once: F(x) − x, as the run does.
    mirrored too: the mean of that and of what comes of the picture mirrored left to right.
    second pass: F(F(x)) − F(x).
    both passes: F(F(x)) − x.

Each way gets weights by place, local statistics and a threshold of its own, from the same pictures.

    python benchmarks/passes.py RUN [--ways NAME …] [--out FILE.json]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from figures import print_metrics, write_result
from in_place import measured_in_place

from ssae_tf.config import override
from ssae_tf.detector import Detector
from ssae_tf.progress import Reporter

FIGURES = ("image_auroc", "pixel_auroc", "aupro", "tpr", "tnr")

Network = Callable[[tf.Tensor], tf.Tensor]


def _mirrored_too(network: Network, x: tf.Tensor) -> tf.Tensor:
    return 0.5 * (network(x) + tf.reverse(network(tf.reverse(x, [2])), [2]))


def _second_pass(network: Network, x: tf.Tensor) -> tf.Tensor:
    repaired = network(x)
    return x + network(repaired) - repaired


# What stands for F(x).
WAYS: dict[str, Callable[[Network, tf.Tensor], tf.Tensor]] = {
    "once": lambda network, x: network(x),
    "mirrored too": _mirrored_too,
    "second pass": _second_pass,
    "both passes": lambda network, x: network(network(x)),
}


class Asked:
    """Stands where the network stands, and asks it in some way."""

    def __init__(self, way: str, detector: Detector) -> None:
        self.way = WAYS[way]
        self.network = detector.network
        self.inputs = detector.model.inputs

    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(B, H, W, C) -> the same."""
        del training
        return self.way(self.network, x)


def measure(
    run: Path, detector: Detector, way: str, reporter: Reporter
) -> dict[str, dict[str, Any]]:
    """metrics.json's content for the residual alone and with local statistics."""
    results = {}
    for name in ("residual alone", "with local statistics"):
        with_statistics = name != "residual alone"
        config = override(detector.config, {"scoring.local_statistics": with_statistics})
        results[name] = measured_in_place(Asked(way, detector), config, run, reporter)
    return results


def main() -> None:
    """Prints a Markdown table, and writes the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    reporter, detector = Reporter(), Detector.load(arguments.run)
    results = {}
    for way in arguments.ways:
        results[way] = measure(arguments.run, detector, way, reporter)
        write_result(arguments.out, {"results": results}, RUN=arguments.run)
    flat = {f"{way}, {name}": m for way, both in results.items() for name, m in both.items()}
    print_metrics("network asked", flat, FIGURES)


if __name__ == "__main__":
    main()
