"""A process of several devices, for tests: runs a command with stand-ins for what is slow to trace.

    python on_several_devices.py fit --devices 2 …
    python on_several_devices.py compare fit --devices 2 …

The second compares two devices with parts computed by hand before. The CPU is two devices, but of a
worker of TF_CONFIG. TensorFlow's devices can't be changed once it has run, so that a process of its
own it must be.
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
from ssae_tf.corruption.corrupt import corrupt
from ssae_tf.training import loop, selection, step
from ssae_tf.training.objective import region_errors
from ssae_tf.training.replicas import strategy_for
from ssae_tf.training.step import corruption_seed, loss_and_errors, make_step
from stand_ins import negative_square, small_network


def compare() -> None:
    """Prints what two devices come to, and two parts by hand: figures, gradients, places."""
    found = {}
    # Five images: parts of two and three.
    x = tf.constant(np.random.default_rng(0).random((5, 32, 32, 3), dtype=np.float32))
    for gated in (False, True):
        answer = "gated" if gated else "plain"
        config = override(RunConfig(), {"model.answer": answer})
        model, reference = (small_network(config.model, 32, seed=0, mean_colour=None) for _ in "12")
        # Its update is the gradient itself.
        optimizer = tf.keras.optimizers.SGD(1.0)
        optimizer.build(model.trainable_variables)
        before = [np.asarray(v).copy() for v in model.trainable_variables]
        update = make_step(model, optimizer, config, strategy_for("all"))
        figures = [float(figure) for figure in update(tf.constant(3), x)]
        after = [np.asarray(v) for v in model.trainable_variables]
        gradients = [old - new for old, new in zip(before, after, strict=True)]
        operations = update.get_concrete_function(tf.constant(3), x).graph.get_operations()
        expected_figures, expected_gradients = _by_hand(reference, config, x)
        found[answer] = {
            "figures": [figures, expected_figures],
            "differences": [
                _difference(gradients, expected_gradients),
                # They have followed both parts.
                _difference(_statistics(model), _statistics(reference)),
            ],
            "largest_gradient": max(float(np.abs(g).max()) for g in gradients),
            "convolutions": [
                sum("Conv2D" in o.type and o.device.endswith(f"CPU:{k}") for o in operations)
                for k in (0, 1)
            ],
        }
    sys.stdout.write(json.dumps(found) + "\n")


def _by_hand(
    model: tf.keras.Model, config: RunConfig, x: tf.Tensor
) -> tuple[list[float], list[np.ndarray]]:
    """Loss, errors and gradients of two parts, one after the other, each by its own statistics."""
    x_hat, mask = corrupt(x, corruption_seed(config, tf.constant(3)), config.corruption)
    losses, gradients, reconstructions = [], [], []
    for part in (slice(0, 2), slice(2, 5)):
        with tf.GradientTape() as tape:
            output = model(x_hat[part], training=True)
            loss, *_ = loss_and_errors(output, x[part], x_hat[part], mask[part], config.objective)
            loss *= (part.stop - part.start) / 5
        losses.append(float(loss))
        gradients.append([np.asarray(g) for g in tape.gradient(loss, model.trainable_variables)])
        reconstructions.append(output[..., :3])
    errors = region_errors(tf.concat(reconstructions, 0), x, mask)
    summed = [a + b for a, b in zip(*gradients, strict=True)]
    return [sum(losses), *(float(error) for error in errors)], summed


def _statistics(model: tf.keras.Model) -> list[np.ndarray]:
    return [np.asarray(v) for v in model.non_trainable_variables]


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
