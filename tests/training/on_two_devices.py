"""A process whose CPU is two devices, for tests: runs a command, or compares with one device.

    python on_two_devices.py fit --devices 2 …
    python on_two_devices.py compare

TensorFlow's devices can't be changed once it has run, so that a process of its own it must be.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import tensorflow as tf
from conftest import small_network

from ssae_tf.cli.main import run
from ssae_tf.config import RunConfig, override
from ssae_tf.training.replicas import strategy_for
from ssae_tf.training.step import make_step


def compare() -> None:
    """Prints what two devices and two parts of one device come to: figures, gradients, places."""
    found = {}
    for gated in (False, True):
        answer = "gated" if gated else "plain"
        config = override(RunConfig(), {"model.answer": answer})
        # Five images: parts of two and three.
        shape = (5, 32, 32, 3)
        x = tf.constant(np.random.default_rng(0).random(shape, dtype=np.float32))
        runs = []
        for strategy in (tf.distribute.get_strategy(), strategy_for("all")):
            model = small_network(config.model, 32, seed=0, mean_colour=None)
            # Its update is the gradient itself.
            optimizer = tf.keras.optimizers.SGD(1.0)
            optimizer.build(model.trainable_variables)
            before = [np.asarray(v).copy() for v in model.trainable_variables]
            parts = 2 // strategy.num_replicas_in_sync
            step = make_step(model, optimizer, config, parts, strategy)
            figures = [float(figure) for figure in step(tf.constant(3), x)]
            after = [np.asarray(v) for v in model.trainable_variables]
            gradients = [old - new for old, new in zip(before, after, strict=True)]
            statistics = [np.asarray(v) for v in model.non_trainable_variables]
            runs.append((figures, gradients, statistics))
            operations = step.get_concrete_function(tf.constant(3), x).graph.get_operations()
        (figures, *one), (others, *two) = runs
        found[answer] = {
            "figures": [figures, others],
            "differences": [_difference(a, b) for a, b in zip(one, two, strict=True)],
            "largest_gradient": max(float(np.abs(g).max()) for g in one[0]),
            "convolutions": [
                sum("Conv2D" in o.type and o.device.endswith(f"CPU:{k}") for o in operations)
                for k in (0, 1)
            ],
        }
    sys.stdout.write(json.dumps(found))


def _difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], 2 * [tf.config.LogicalDeviceConfiguration()]
    )
    sys.exit(compare() if sys.argv[1] == "compare" else run(sys.argv[1:]))
