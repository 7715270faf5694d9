"""What of a machine a process may use, told from folders laid out as Linux has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssae_tf.runtime import machine

GIB = 1 << 30


class System:
    """Folders in place of /proc and /sys/fs/cgroup."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"
        self.write("proc/meminfo", "MemTotal: 67108864 kB\nMemAvailable: 33554432 kB\n")

    def write(self, name: str, text: str) -> None:
        path = self.proc.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    found = System(tmp_path)
    monkeypatch.setattr(machine, "_PROC", found.proc)
    monkeypatch.setattr(machine, "_CGROUPS", found.cgroups)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    return found


def test_without_control_groups_the_system_decides(system: System) -> None:
    assert machine.available_memory() == 32 * GIB
    assert machine.usable_cpus() == 16


def test_without_meminfo_free_pages_count(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    (system.proc / "meminfo").unlink()
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_AVPHYS_PAGES": 3}.get(name, 4096))
    assert machine.available_memory() == 3 * 4096

    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert machine.available_memory() == 2 * GIB


def test_version_2_counts_what_caches_hold_as_available(system: System) -> None:
    system.write("proc/self/cgroup", "0::/job/step\n")
    system.write("cgroup/job/memory.max", f"{8 * GIB}\n")
    system.write("cgroup/job/memory.current", f"{7 * GIB}\n")
    system.write("cgroup/job/memory.stat", f"anon {2 * GIB}\ninactive_file {5 * GIB}\n")
    system.write("cgroup/job/step/memory.max", "max\n")
    system.write("cgroup/job/step/memory.current", f"{7 * GIB}\n")
    assert machine.available_memory() == 6 * GIB


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 16), ("250000 100000", 3), ("20000 100000", 1)]
)
def test_version_2_cores(system: System, quota: str, cores: int) -> None:
    system.write("proc/self/cgroup", "0::/job\n")
    system.write("cgroup/cpu.max", "max 100000\n")
    system.write("cgroup/job/cpu.max", f"{quota}\n")
    assert machine.usable_cpus() == cores


def test_version_1_in_a_container_has_its_limits_at_the_root(system: System) -> None:
    system.write(
        "proc/self/cgroup",
        "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
    )
    system.write("cgroup/memory/memory.limit_in_bytes", f"{4 * GIB}\n")
    system.write("cgroup/memory/memory.usage_in_bytes", f"{3 * GIB}\n")
    system.write("cgroup/memory/memory.stat", f"cache 9\ntotal_inactive_file {GIB}\n")
    system.write("cgroup/cpu/cpu.cfs_quota_us", "150000\n")
    system.write("cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert machine.available_memory() == 2 * GIB
    assert machine.usable_cpus() == 2


def test_version_1_without_limits(system: System) -> None:
    system.write("proc/self/cgroup", "12:memory:/\n4:cpu:/\n")
    system.write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    system.write("cgroup/memory/memory.usage_in_bytes", f"{3 * GIB}\n")
    system.write("cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    system.write("cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert machine.available_memory() == 32 * GIB
    assert machine.usable_cpus() == 16


def test_fewer_cores_than_the_quota_would_give(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.write("proc/self/cgroup", "0::/\n")
    system.write("cgroup/cpu.max", "400000 100000\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert machine.usable_cpus() == 1


def test_a_group_above_its_limit_has_nothing_left(system: System) -> None:
    system.write("proc/self/cgroup", "0::/\n")
    system.write("cgroup/memory.max", f"{GIB}\n")
    system.write("cgroup/memory.current", f"{2 * GIB}\n")
    assert machine.available_memory() == 0


def test_this_machine_has_cores_and_memory() -> None:
    assert machine.usable_cpus() >= 1
    assert machine.available_memory() > 1 << 20
