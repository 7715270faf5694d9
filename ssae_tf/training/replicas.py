"""The devices that share the images of a training step, on one machine or on several.

Every process keeps one copy of the weights, in plain variables: validation, saving and loading know
nothing of devices. A step has each device run its part of the batch, adds the gradients up over
all devices (`tf.distribute`), and every process makes the same update.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Literal

import tensorflow as tf

from ssae_tf.config import TrainingConfig
from ssae_tf.errors import InputError, SsaeError
from ssae_tf.runtime.gpu import set_up_gpus
from ssae_tf.runtime.rendezvous import Address, address_of, meet

Devices = int | Literal["all"]

CLUSTER_VARIABLE = "TF_CONFIG"

# Seconds that a worker waits for the others in a step: longer than an evaluation takes a slow one.
_TIMEOUT = 600.0
# Seconds that a worker waits for the others to come.
_ARRIVAL = 600.0

_LOGGER = logging.getLogger("ssae_tf")

# What a step ends with where another worker is gone, or does not answer.
WORKER_IS_GONE = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)


class WorkerLost(SsaeError):
    """Another worker of the cluster has ended before training has, or has not come."""


def strategy_for(devices: Devices = 1) -> tf.distribute.Strategy:
    """How training uses devices: GPUs, or CPU devices where there is none.

    Args:
        devices: how many of this machine; "all" for all of them. Where `TF_CONFIG` names a cluster,
            of each of its workers, and this call waits for all of these, ten minutes at most.

    Returns:
        TensorFlow's default for one device, a `MirroredStrategy` for several, and a
        `MultiWorkerMirroredStrategy` for several workers.

    Raises:
        InputError: there are fewer devices, `TF_CONFIG` can't be read, or it names a cluster when
            TensorFlow has run something already.
        WorkerLost: a worker of the cluster has not come.
    """
    set_up_gpus()
    own, workers = _workers()
    if len(workers) > 1:
        _wait_for(own, workers)
        return _of_cluster(devices)
    if devices == 1:
        return tf.distribute.get_strategy()
    here = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name for device in here[: _checked(devices, len(here))]]
    if len(names) == 1:
        return tf.distribute.get_strategy()
    # The first device has the weights. Collective operations, TensorFlow's default, would also mix
    # up those of two strategies in one process.
    return tf.distribute.MirroredStrategy(names, tf.distribute.ReductionToOneDevice())


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run: the only one, or the first of a cluster."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


def check_parts(training: TrainingConfig, strategy: tf.distribute.Strategy) -> None:
    """Refuses what can't be split over devices.

    Raises:
        InputError: a step has fewer images than there are devices, or is compiled by XLA.
    """
    count = strategy.num_replicas_in_sync
    if count == 1:
        return
    least = min(stage.batch_size for stage in training.stages)
    if least < count:
        raise InputError(
            f"Expected at most as many devices as a step has images, {least}. Received: {count} "
            "devices; `training.stages` has the number of images (batch_size)."
        )
    if training.jit:
        raise InputError(
            f"Expected one device with training.jit: XLA compiles for one. Received: {count}."
        )


def agreed(value: float, strategy: tf.distribute.Strategy) -> float:
    """The mean of a number over all devices, the same for every worker."""

    def mean() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.constant(value, tf.float32))

    if strategy.num_replicas_in_sync == 1:
        return value
    function = tf.function(lambda: strategy.run(mean), autograph=False)
    return float(strategy.experimental_local_results(function())[0])


def _checked(devices: Devices, available: int) -> int:
    count = available if devices == "all" else devices
    if not 1 <= count <= available:
        kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU device, and no GPU"
        raise InputError(
            f"Expected devices from 1 to {available}: TensorFlow sees {available} {kind}. "
            f"Received: {devices}."
        )
    return count


def _of_cluster(devices: Devices) -> tf.distribute.Strategy:
    gpus = tf.config.list_physical_devices("GPU")
    count = _checked(devices, max(1, len(gpus)))
    try:
        tf.config.set_visible_devices(gpus[:count], "GPU")
        return tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=tf.distribute.experimental.CommunicationOptions(
                timeout_seconds=_TIMEOUT
            )
        )
    except WORKER_IS_GONE:
        raise WorkerLost(f"{CLUSTER_VARIABLE}: the workers it names have not all come.") from None
    except tf.errors.UnknownError as error:
        # Its own port is taken.
        raise InputError(f"{CLUSTER_VARIABLE}: {error.message}.") from None
    except RuntimeError:
        # The only one of these: TensorFlow's collective operations come first, or not at all.
        raise InputError(
            f"{CLUSTER_VARIABLE}: expected a process in which TensorFlow has not run yet."
        ) from None


def _wait_for(own: str, workers: dict[str, Address]) -> None:
    """Waits until all workers of a cluster have come."""

    def named(names: list[str]) -> str:
        return " and ".join(f"{one} ({':'.join(map(str, workers[one]))})" for one in names)

    def say(names: list[str]) -> None:
        _LOGGER.warning("%s: waiting for %s.", CLUSTER_VARIABLE, named(names))

    others = {name: address for name, address in workers.items() if name != own}
    port = workers[own][1]
    try:
        missing = meet(port, others, _ARRIVAL, say)
    except OSError as error:
        # Python's own text has the address once more.
        reason = os.strerror(error.errno or 0)
        raise InputError(
            f"{CLUSTER_VARIABLE}: port {port} of {own} can't be used ({reason})."
        ) from None
    if missing:
        raise WorkerLost(
            f"{CLUSTER_VARIABLE}: {named(missing)} did not come within {_ARRIVAL:g} s. Each "
            "worker takes the same command, with its own index, and must reach the others."
        )


def _workers() -> tuple[str, dict[str, Address]]:
    """This process and all others of the cluster in `TF_CONFIG`, by name; none without one."""
    text = os.environ.get(CLUSTER_VARIABLE, "")
    if not text:
        return "", {}
    expected = (
        f'{CLUSTER_VARIABLE}: expected {{"cluster": {{"worker": ["HOST:PORT", …]}}, "task": '
        '{"type": "worker", "index": N}}'
    )
    try:
        value = json.loads(text)
        cluster, task = value.get("cluster", {}), value.get("task", {})
        workers = {
            f"{role} {index}": address_of(host)
            for role in ("chief", "worker")
            for index, host in enumerate(cluster.get(role, []))
        }
        own = f"{task['type']} {task['index']}" if workers else ""
        if workers and own not in workers:
            raise LookupError
    except (ValueError, AttributeError, TypeError, LookupError):
        raise InputError(f"{expected}. Received: {text!r}.") from None
    return own, workers
