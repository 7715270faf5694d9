"""A process of several devices, for tests: runs a command with stand-ins for what is slow to trace.

    python on_several_devices.py fit --devices 2 …
    python on_several_devices.py compare fit --devices 2 …

The second compares two devices with one before. The CPU is two devices, but of a worker of
TF_CONFIG. TensorFlow's devices can't be changed once it has run, so that a process of its own it
must be.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import tensorflow as tf

from ssae_tf import detector
from ssae_tf.cli.main import run
from ssae_tf.config import RunConfig, override
from ssae_tf.training import loop, selection, step
from ssae_tf.training.replicas import strategy_for
from ssae_tf.training.step import make_step
from stand_ins import negative_square, small_network


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
            update = make_step(model, optimizer, config, parts, strategy)
            figures = [float(figure) for figure in update(tf.constant(3), x)]
            after = [np.asarray(v) for v in model.trainable_variables]
            gradients = [old - new for old, new in zip(before, after, strict=True)]
            statistics = [np.asarray(v) for v in model.non_trainable_variables]
            runs.append((figures, gradients, statistics))
            operations = update.get_concrete_function(tf.constant(3), x).graph.get_operations()
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
    sys.stdout.write(json.dumps(found) + "\n")


def _difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def use_stand_ins() -> None:
    """Puts the small network and its corruption in place of those that take long to trace."""
    for module in (loop, detector):
        module.autoencoder = small_network
    step.corrupt = selection.corrupt = selection.held_out = negative_square


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if "TF_CONFIG" not in os.environ:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], 2 * [tf.config.LogicalDeviceConfiguration()]
        )
    if arguments[0] == "compare":
        compare()
        del arguments[0]
    use_stand_ins()
    sys.exit(run(arguments))
