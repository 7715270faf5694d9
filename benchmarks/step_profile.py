"""Where the time of a training step goes, by kind of operation, from TensorFlow's own profiler.

One core and one operation at a time, so that the shares add up.

    taskset -c 0 python benchmarks/step_profile.py [--preset paper] [--width W] [--side 128]
        [--batch 8] [--steps 4] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import collections
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from measure import training_step, write_result
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from ssae_tf.config import override, preset

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


def main() -> None:
    """Prints a Markdown table, and keeps the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--width", type=float, help="another than the preset's")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
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
