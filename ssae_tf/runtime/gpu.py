"""What is asked of NVIDIA's GPUs: memory as it is needed, and all bits of float32 at inspection."""

from __future__ import annotations

import contextlib
import os

import tensorflow as tf

from ssae_tf.errors import InputError

MEMORY_VARIABLE = "SSAE_TF_GPU_MEMORY"


def set_up_gpus() -> None:
    """Lets every GPU's memory grow as it is needed, or up to `SSAE_TF_GPU_MEMORY` MiB.

    TensorFlow by itself takes nearly all of it at once. Only before it has run anything in this
    process: later, or where somebody has set these devices up, they stay as they are.

    Raises:
        InputError: the variable is no whole number of MiB.
    """
    limit = _memory_limit()
    for device in tf.config.list_physical_devices("GPU"):
        # RuntimeError: something ran before. ValueError: another kind of limit is set.
        with contextlib.suppress(RuntimeError, ValueError):
            if limit is None:
                tf.config.experimental.set_memory_growth(device, True)
            else:
                parts = [tf.config.LogicalDeviceConfiguration(memory_limit=limit)]
                tf.config.set_logical_device_configuration(device, parts)


def _memory_limit() -> int | None:
    text = os.environ.get(MEMORY_VARIABLE, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InputError(
            f"{MEMORY_VARIABLE}: expected MiB of a GPU's memory, a whole number above 0. "
            f"Received: {text!r}."
        )
    return int(text)


def use_tensor_float_32(enabled: bool) -> None:
    """Whether GPUs from Ampere on round what they multiply to 10 of 23 bits, in this process.

    Emulated, that moves maps of trained networks by 0.1 to 0.6 % of the threshold, where an export
    in float32 may differ by 0.1 %. Training bears it, and is faster; a detector must not depend on
    the device.
    """
    tf.config.experimental.enable_tensor_float_32_execution(enabled)
