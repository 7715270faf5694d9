"""How inspection uses the cores of a machine without a GPU: images side by side, a core for each.

Training leaves its cores to TensorFlow, which splits each operation over them. Halves of a batch on
a core each would take 0.88 times as long on two cores, but each half has batch statistics of its
own, which differ from those at inspection the more, the fewer its images are.
"""

from __future__ import annotations

import contextlib
import os

import tensorflow as tf

from ssae_tf.runtime.gpu import set_up_gpus
from ssae_tf.runtime.machine import usable_cpus


def use_cores() -> None:
    """Gives every operation one core, so that images are inspected side by side.

    Only where TensorFlow sees no GPU, and before it has run anything in this process: later its
    threads can't be changed, and stay as they are. `TF_NUM_INTRAOP_THREADS` wins if it is set.
    """
    if tf.config.list_physical_devices("GPU") or "TF_NUM_INTRAOP_THREADS" in os.environ:
        return
    # RuntimeError: something ran before.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(usable_cpus())
        tf.config.threading.set_intra_op_parallelism_threads(1)


def look_for_devices() -> None:
    """Has TensorFlow start its devices, which is when it tells of those that it lacks."""
    set_up_gpus()
    tf.config.list_logical_devices()


def side_by_side() -> int:
    """How many things should run at a time for all cores to have work: one where each has all."""
    return usable_cpus() if tf.config.threading.get_intra_op_parallelism_threads() == 1 else 1


def batches_at_once(size: int) -> int:
    """How many batches should be loaded and inspected at a time.

    Args:
        size: images of a batch; where it is more than one, the others wait for a device.
    """
    return side_by_side() if size == 1 else usable_cpus()
