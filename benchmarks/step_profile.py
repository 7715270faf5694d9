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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from measure import Timed, here, medians, training_step, write_result
from scipy import ndimage
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from ssae_tf.config import override, preset
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.images import to_unit
from ssae_tf.data.mvtec import Sample
from ssae_tf.data.pipeline import Sampler
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
# Of each way to feed a step, a round: of the slow ones, and of those that take longer to start.
_BATCHES, _MANY = 8, 128
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


def in_numpy(images: np.ndarray, sampler: Sampler, steps: int) -> tf.data.Dataset:
    """The sampler's batches, of uint8 images, made by NumPy in two calls of Python at a time."""
    shape = (sampler.batch_size, *images.shape[1:])

    def batch(step: np.ndarray) -> np.ndarray:
        (draws,) = sampler.draws(int(step), int(step) + 1)
        x = np.empty(shape, np.float32)
        for slot, (index, exchanged, rows, columns) in enumerate(draws):
            image = images[index].swapaxes(0, 1) if exchanged else images[index]
            x[slot] = to_unit(image[:: 1 - 2 * rows, :: 1 - 2 * columns])
        return x

    def load(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.numpy_function(batch, [step], tf.float32, stateful=False)
        return step, tf.ensure_shape(x, shape)

    batches = tf.data.Dataset.range(steps).map(load, num_parallel_calls=2)
    return batches.prefetch(tf.data.AUTOTUNE)


def images_a_second(folder: Path, side: int, batch: int, rounds: int) -> dict[str, float]:
    """Of each way to feed a step, median over the rounds; one before them warms up.

    Args:
        folder: for 16 files.
        side: of files and batches, pixels.
        batch: images a batch.
        rounds: how often each way makes its batches.

    Raises:
        SystemExit: NumPy and TensorFlow make different batches.
    """
    config = preset("quick")
    samples = []
    for index in range(16):
        image = ndimage.gaussian_filter(np.random.default_rng(index).random((side, side, 3)), 2)
        path = folder / f"{side}-{index}.png"
        cv2.imwrite(str(path), np.uint8(255 * image))
        samples.append(Sample(path, "good"))
    images = ImageCache(samples).resized(side, side)
    sampler = Sampler(images, batch, config.data, (0,))

    def decoded() -> Iterator[np.ndarray]:
        for step in range(_BATCHES):
            again = ImageCache([samples[(step * batch + k) % 16] for k in range(batch)])
            yield to_unit(again.resized(side, side))

    before, pipeline = in_numpy(images, sampler, _MANY), sampler.batches(0, _MANY)
    for (_, one), (_, other) in zip(before, pipeline, strict=True):
        if not np.array_equal(one, other):
            raise SystemExit(f"{side}: other batches.")
    corrupted = corrupt_in_pipeline(sampler.batches(0, _BATCHES), config)
    ways: dict[str, Callable[[], Iterable[Any]]] = {
        "files decoded for each step": decoded,
        "the pipeline, as NumPy behind numpy_function": lambda: before,
        "the pipeline, as TensorFlow operations": lambda: pipeline,
        "the pipeline, corruption in it": lambda: corrupted,
    }
    seconds = medians({name: per_batch(way) for name, way in ways.items()}, rounds)
    step, x = training_step(config, side), np.zeros((batch, side, side, 3), np.float32)
    one_step = here(lambda: float(step(tf.constant(0), tf.constant(x))[0]))
    seconds |= medians({"the step of quick": one_step}, rounds)
    return {name: batch / one for name, one in seconds.items()}


def per_batch(way: Callable[[], Iterable[Any]]) -> Timed:
    """Runs through all batches; the seconds that one takes."""

    def timed() -> float:
        begin = time.perf_counter()
        count = sum(1 for _ in way())
        return (time.perf_counter() - begin) / count

    return timed


def main() -> None:
    """Prints the figures, and keeps them as JSON if asked to."""
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
    write_result(arguments.out, {"seconds": found})


if __name__ == "__main__":
    main()
