"""A run beside the residual of a plain blur: picture minus its Gaussian blur, scored the same way.

A detector has to beat this to be worth its training. The blur needs no training; its map, threshold
and metrics are made by the same code as the detector's, on the same pictures.

    python benchmarks/blur_baseline.py RUN [--sigma 1 2 4 8] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from figures import print_metrics, write_result
from in_place import measured_in_place

from ssae_tf import workflow
from ssae_tf.detector import Detector
from ssae_tf.progress import Reporter
from ssae_tf.tensor_ops import gaussian_filter

FIGURES = ("image_auroc", "pixel_auroc", "aupro", "balanced_accuracy", "f1_image", "f1_pixel")


class Blur:
    """Stands where the network stands: the "reconstruction" is the blurred picture."""

    def __init__(self, sigma: float, like: tf.keras.Model) -> None:
        self.sigma = sigma
        self.inputs = like.inputs

    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(B, H, W, 3) -> the same, each channel blurred."""
        del training
        channels = tf.split(x, 3, axis=-1)
        return tf.concat([gaussian_filter(channel, self.sigma) for channel in channels], axis=-1)


def measure(run: Path, sigmas: list[float], reporter: Reporter) -> dict[str, Any]:
    """metrics.json's content for the run and for each blur, by name."""
    detector = Detector.load(run)
    results = {"ssae_tf": workflow.evaluate(run, reporter=reporter)}
    # Blurring knows no inspection size of its own: it takes the run's.
    size = detector.inspection_size or "native"
    scoring = dataclasses.replace(detector.config.scoring, inspection_size=size)
    config = dataclasses.replace(detector.config, scoring=scoring)
    for sigma in sigmas:
        blur = Blur(sigma, detector.model)
        results[f"blur, sigma {sigma:g}"] = measured_in_place(blur, config, run, reporter)
    return results


def main() -> None:
    """Prints a Markdown table, and writes the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--sigma", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = measure(arguments.run, arguments.sigma, Reporter(quiet=True))
    print_metrics("method", results, FIGURES)
    figures = {
        name: {key: value for key, value in metrics.items() if key != "schema_version"}
        for name, metrics in results.items()
    }
    write_result(arguments.out, {"results": figures}, RUN=arguments.run)
    assert all(np.isfinite(m["threshold"]) for m in results.values())


if __name__ == "__main__":
    main()
