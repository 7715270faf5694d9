"""The training step in bfloat16 and compiled by XLA beside the plain one.

Every variant takes its step in turn in one process; the first, in which TensorFlow traces and XLA
compiles, is kept apart.

    python benchmarks/step_precision.py [--preset paper] [--width 0.25] [--side 128] [--batch 8]
        [--variants none bfloat16 none+jit bfloat16+jit] [--rounds 5] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssae_tf.config import override, preset
from ssae_tf.files import write_json
from ssae_tf.machine import machine
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.training import normalization
from ssae_tf.training.schedule import freeze_step
from ssae_tf.training.step import make_step

_VARIANTS = ("none", "bfloat16", "none+jit", "bfloat16+jit")


def step_of(name: str, width: float, variant: str, x: tf.Tensor) -> Callable[[], float]:
    """The step of a preset on the same pictures every time; returns its loss."""
    precision, _, jit = variant.partition("+")
    changes = {
        "model.width": width,
        "training.mixed_precision": precision,
        "training.jit": bool(jit),
    }
    config = override(preset(name), changes)
    model = autoencoder(config.model, training_size=x.shape[1], mixed_precision=precision)
    frozen = freeze_step(config.training) == 0
    normalization.set_mode(model, "moving" if frozen else "batch")
    optimizer = tf.keras.optimizers.Adam(1e-4)
    optimizer.build(model.trainable_variables)
    step = make_step(model, optimizer, config)
    index = tf.constant(0, tf.int64)
    return lambda: float(step(index, x)[0])


def main() -> None:
    """Prints a Markdown table of medians, and keeps the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="paper", help="settings of the step")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--variants", nargs="+", choices=_VARIANTS, default=list(_VARIANTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    shape = (arguments.batch, arguments.side, arguments.side, 3)
    x = tf.constant(np.random.default_rng(0).random(shape, dtype=np.float32))
    runs, first = {}, {}
    for variant in arguments.variants:
        runs[variant] = step_of(arguments.preset, arguments.width, variant, x)
        begin = time.perf_counter()
        runs[variant]()
        first[variant] = time.perf_counter() - begin
    times: dict[str, list[float]] = {variant: [] for variant in runs}
    for _ in range(arguments.rounds):
        for variant, run in runs.items():
            begin = time.perf_counter()
            run()
            times[variant].append(time.perf_counter() - begin)
    print("| | step, s | ratio | first step, s |\n|---|---|---|---|")
    medians = {variant: statistics.median(values) for variant, values in times.items()}
    for variant, seconds in medians.items():
        ratio = seconds / medians[arguments.variants[0]]
        print(f"| {variant} | {seconds:.3f} | {ratio:.2f} | {first[variant]:.1f} |")
    if arguments.out:
        command = " ".join(["python", *sys.argv])
        content = {"command": command, "machine": machine(), "seconds": medians, "first": first}
        write_json(arguments.out, content)


if __name__ == "__main__":
    main()
