"""Images a second that the tf.data pipeline gives, and what corruption costs there and in the step.

Batches from decoded images in memory; the corruption of `quick` in the pipeline, or compiled as the
step has it, without the network. All ways in turn, in seconds of the processor, so that other work
on the machine counts little.

    python benchmarks/pipeline.py [--sizes 128 256 512] [--images 16] [--batches 8] [--rounds 5]
        [--out FILE.json]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from measure import Timed, medians, write_result

from ssae_tf.config import RunConfig, preset
from ssae_tf.corruption.corrupt import corrupt
from ssae_tf.data.pipeline import Sampler, training_batches
from ssae_tf.training.step import corrupt_in_pipeline, corruption_seed

_BATCH = 4


def ways(config: RunConfig, side: int, images: int) -> dict[str, Callable[[int], Iterable[Any]]]:
    """What is timed: each gives so many batches of a size."""
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(images)]
    sampler = Sampler(pixels, side, _BATCH, config.data, (0, 1))
    step = tf.function(
        lambda index, x: corrupt(x, corruption_seed(config, index), config.corruption),
        autograph=False,
    )

    def clean(batches: int) -> tf.data.Dataset:
        return training_batches(sampler, 0, batches)

    return {
        "clean images": clean,
        "corrupted in the pipeline": lambda batches: corrupt_in_pipeline(clean(batches), config),
        "corrupted as in the step": lambda batches: (step(*one) for one in clean(batches)),
    }


def beyond_the_first(give: Callable[[int], Iterable[Any]], batches: int) -> Timed:
    """Seconds of the processor that batches take after the first, which waits for the start."""

    def seconds(count: int) -> float:
        begin = time.process_time()
        for one in give(count):
            one[-1].numpy()
        return time.process_time() - begin

    return lambda: seconds(1 + batches) - seconds(1)


def main() -> None:
    """Prints a Markdown table, and keeps the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    config = preset("quick")
    found = {}
    for side in arguments.sizes:
        timed = {
            name: beyond_the_first(give, arguments.batches)
            for name, give in ways(config, side, arguments.images).items()
        }
        seconds = medians(timed, arguments.rounds)
        count = _BATCH * arguments.batches
        found[str(side)] = {name: count / value for name, value in seconds.items()}
    print("| side | way | images/s |\n|---|---|---|")
    for side, one in found.items():
        for name, value in one.items():
            print(f"| {side}² | {name} | {value:.1f} |")
    write_result(arguments.out, {"batch": _BATCH, "images_per_processor_second": found})


if __name__ == "__main__":
    main()
