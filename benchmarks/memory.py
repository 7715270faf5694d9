"""How much memory this process takes, where Linux tells."""

from __future__ import annotations

from pathlib import Path


def peak() -> float:
    """The most that this process has had at a time, MiB.

    Not `getrusage`: its figure begins with that of the process it was started from.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**10
