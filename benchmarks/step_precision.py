"""The training step in bfloat16 and compiled by XLA beside the plain one.

Every variant takes its step in turn in one process; the first, in which TensorFlow traces and XLA
compiles, is kept apart.

    python benchmarks/step_precision.py [--preset paper] [--width 0.25] [--side 128] [--batch 8]
        [--variants none bfloat16 none+jit bfloat16+jit] [--rounds 5] [--out FILE.json]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from figures import write_result
from interleaved import here, in_turn
from preset_step import preset_step

from ssae_tf.config import override, preset

_VARIANTS = ("none", "bfloat16", "none+jit", "bfloat16+jit")


def step_of(name: str, width: float, variant: str, x: tf.Tensor) -> Callable[[], float]:
    """The step of a preset on the same pictures every time; returns its loss."""
    precision, _, jit = variant.partition("+")
    changes = {
        "model.width": width,
        "training.mixed_precision": precision,
        "training.jit": bool(jit),
    }
    step = preset_step(override(preset(name), changes), x.shape[1])
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
        first[variant] = here(runs[variant])()
    found = in_turn(runs, arguments.rounds)
    print("| | step, s | ratio | first step, s |\n|---|---|---|---|")
    for variant, seconds in found.items():
        ratio = seconds / found[arguments.variants[0]]
        print(f"| {variant} | {seconds:.3f} | {ratio:.2f} | {first[variant]:.1f} |")
    write_result(arguments.out, {"seconds": found, "first": first})


if __name__ == "__main__":
    main()
