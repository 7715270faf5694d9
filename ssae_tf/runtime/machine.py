"""What times depend on, and how much of the machine this process may use.

A container or a batch system leaves a process less than there is: through the cores that it may run
on, and through control groups of Linux, version 1 (a tree for each controller) or 2 (one tree).
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")

# Where nothing says how much memory there is, bytes.
_GUESSED_MEMORY = 2 << 30


def machine() -> dict[str, Any]:
    """The machine and what computes on it, for JSON."""
    import tensorflow as tf

    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "usable_cpus": usable_cpus(),
        "devices": [device.name for device in tf.config.list_physical_devices()],
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
    }


def usable_cpus() -> int:
    """Cores that this process may use, at least 1: those it is bound to, and its share of time."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    shares = [math.ceil(share) for folder in _groups("cpu") if (share := _cpu_share(folder))]
    return max(1, min([count, *shares]))


def available_memory() -> int:
    """Bytes that can be had without swapping; what caches of files hold can be had.

    The least of what the system has and of what each control group above this process has left.
    """
    left = [_left_of(folder) for folder in _groups("memory")]
    return max(0, min([_system_memory(), *(one for one in left if one is not None)]))


def _system_memory() -> int:
    for line in _lines(_PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return _GUESSED_MEMORY


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, innermost first.

    In a container the paths may be those of the host: what is not there is passed over, and the
    root is the container's own group.
    """
    for line in _lines(_PROC / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller if controllers else _CGROUPS
        if not controllers and (_CGROUPS / "unified").is_dir():
            root = _CGROUPS / "unified"
        inside = root / path.lstrip("/")
        yield from (one for one in (inside, *inside.parents) if one.is_relative_to(root))


def _cpu_share(folder: Path) -> float | None:
    """Cores' worth of time that a group has; None without a limit."""
    words = " ".join(_lines(folder / "cpu.max")).split()
    if not words:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = [word for name in names for word in _lines(folder / name)]
    if len(words) != 2 or words[0] == "max" or int(words[0]) <= 0:
        return None
    return int(words[0]) / int(words[1])


def _left_of(folder: Path) -> int | None:
    """Bytes that a group may still use; None without a limit."""
    for limit_file, used_file, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _lines(folder / limit_file), _lines(folder / used_file)
        if limit and used and limit[0] != "max":
            cached = dict(line.split() for line in _lines(folder / "memory.stat")).get(cache, 0)
            return int(limit[0]) - int(used[0]) + int(cached)
    return None


def _processor() -> str:
    lines = _lines(_PROC / "cpuinfo")
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _lines(path: Path) -> list[str]:
    """Lines of a file that the system may have or not."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
