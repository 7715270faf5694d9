"""What times depend on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import tensorflow as tf


def machine() -> dict[str, Any]:
    """The machine and what computes on it, for JSON.

    `usable_cpus` are those that this process may use, where the system tells.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
        "devices": [device.name for device in tf.config.list_physical_devices()],
        "python": platform.python_version(),
        "tensorflow": importlib.metadata.version("tensorflow"),
    }


def _processor() -> str:
    """Its name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
