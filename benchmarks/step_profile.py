"""Where the time of a training step goes, by kind of operation, from TensorFlow's own profiler.

One core and one operation at a time, so that the shares add up. With --pipeline what feeds the step
is timed instead: images a second at several sizes, each way in turn.

    taskset -c 0 python benchmarks/step_profile.py [--preset paper] [--width W] [--side 128]
        [--batch 8] [--steps 4] [--pipeline] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import collections
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from measure import training_step, write_result
from scipy import ndimage
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from ssae_tf.config import override, preset
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.mvtec import Sample
from ssae_tf.data.pipeline import Sampler, training_batches
from ssae_tf.training.step import corrupt_in_pipeline

# The first kind one of whose words stands in an operation's type; oneDNN's have names of their own.
_KINDS = {
    "convolutions, gradient of kernels": ("Conv2DBackpropFilter",),
    "transposed convolutions, gradient of inputs": ("Conv2DBackpropInput",),
    "convolutions, forward": ("Conv2D",),
    "batch normalisation": ("BatchNorm",),
    "moving pixels for dilation": ("SpaceToBatch", "BatchToSpace"),
    "pooling": ("Pool",),
    "update of weights": ("Assign", "Sqrt"),
}
# Of each way to feed a step, a round.
_BATCHES = 8
_OTHERS = "the rest (corruption, objective, ReLU, sums)"


def kind_of(operation: str) -> str:
    """The row of the table that an operation type belongs to."""
    for kind, words in _KINDS.items():
        if any(word in operation for word in words):
            return kind
    return _OTHERS


def seconds_by_kind(trace: Path) -> dict[str, float]:
    """Seconds of all operations of a trace, by kind, longest first."""
    (file,) = trace.rglob("*.xplane.pb")
    space = xplane_pb2.XSpace()
    space.ParseFromString(file.read_bytes())
    total: collections.Counter[str] = collections.Counter()
    (plane,) = (plane for plane in space.planes if plane.name == "/host:CPU")
    for line in plane.lines:
        for event in line.events:
            # "name:type"; the step as a whole and its scheduling stand there too.
            name = plane.event_metadata[event.metadata_id].name
            if ":" in name and "::" not in name and not name.startswith("Eager"):
                total[kind_of(name.rpartition(":")[2])] += event.duration_ps / 1e12
    return dict(total.most_common())


def images_a_second(folder: Path, side: int, batch: int, rounds: int) -> dict[str, float]:
    """Of each way to feed a step, median over the rounds.

    Args:
        folder: for 16 files.
        side: of files and batches, pixels.
        batch: images a batch.
        rounds: the first is not counted.
    """
    config = preset("quick")
    samples = []
    for index in range(16):
        image = ndimage.gaussian_filter(np.random.default_rng(index).random((side, side, 3)), 2)
        path = folder / f"{side}-{index}.png"
        cv2.imwrite(str(path), np.uint8(255 * image))
        samples.append(Sample(path, "good"))
    images = ImageCache(samples).resized(side, side)
    sampler = Sampler(images, side, batch, config.data, (0,))

    def decoded() -> Iterator[Any]:
        for step in range(_BATCHES):
            again = ImageCache([samples[(step * batch + k) % 16] for k in range(batch)])
            yield Sampler(again.resized(side, side), side, batch, config.data, (0,)).batch(step)

    pipeline = training_batches(sampler, 0, _BATCHES)
    corrupted = corrupt_in_pipeline(pipeline, config)
    ways: dict[str, Callable[[], Iterator[Any]]] = {
        "files decoded for each step": decoded,
        "the pipeline": lambda: iter(pipeline),
        "the pipeline, corruption in it": lambda: iter(corrupted),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            collections.deque(way(), maxlen=0)
            seconds[name].append((time.perf_counter() - begin) / (_BATCHES * batch))
    step, x = training_step(config, side), np.zeros((batch, side, side, 3), np.float32)
    for index in range(rounds + 1):
        begin = time.perf_counter()
        float(step(tf.constant(index), tf.constant(x))[0])
        seconds.setdefault("the step of quick", []).append((time.perf_counter() - begin) / batch)
    return {name: 1.0 / float(np.median(times[1:])) for name, times in seconds.items()}


def main() -> None:
    """Prints a Markdown table, and keeps the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--width", type=float, help="another than the preset's")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--pipeline", action="store_true", help="what feeds the step instead")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.pipeline:
        with tempfile.TemporaryDirectory() as folder:
            rates = {
                str(side): images_a_second(Path(folder), side, arguments.batch, arguments.steps)
                for side in (128, 256, 512)
            }
        for side, ways in rates.items():
            for name, rate in ways.items():
                print(f"{side}: {name}: {rate:.1f} images/s")
        write_result(arguments.out, {"images_a_second": rates})
        return
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    changes = {} if arguments.width is None else {"model.width": arguments.width}
    config = override(preset(arguments.preset), changes)
    step = training_step(config, arguments.side)
    shape = (arguments.batch, arguments.side, arguments.side, 3)
    x = tf.constant(np.random.default_rng(0).random(shape, dtype=np.float32))
    index = tf.constant(0, tf.int64)
    for _ in range(2):
        float(step(index, x)[0])
    with tempfile.TemporaryDirectory() as folder:
        options = tf.profiler.experimental.ProfilerOptions(
            host_tracer_level=2, python_tracer_level=0
        )
        with tf.profiler.experimental.Profile(folder, options):
            for _ in range(arguments.steps):
                float(step(index, x)[0])
        total = seconds_by_kind(Path(folder))
    found = {kind: seconds / arguments.steps for kind, seconds in total.items()}
    print("| kind of operation | s a step | share |\n|---|---|---|")
    for kind, seconds in found.items():
        print(f"| {kind} | {seconds:.4f} | {100 * seconds / sum(found.values()):.1f} % |")
    write_result(arguments.out, {"seconds": found})


if __name__ == "__main__":
    main()
