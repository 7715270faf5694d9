"""A fleet on a cluster of this machine: nothing is lost, and nothing comes twice.

Everything with Ray runs in processes of its own: its threads and hooks stay out of the tests'.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.detector import Detector
from ssae_tf.errors import RunError
from ssae_tf.fleet.engine import _check_address, _reason, _workers

HAS_RAY = all(importlib.util.find_spec(name) for name in ("ray", "pyarrow", "fsspec"))
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="the extra ray is not installed")
CLUSTER = Path(__file__).with_name("cluster.py")


@pytest.fixture
def images(sample_root: Path, tmp_path: Path) -> Path:
    """70 images of 64², five blocks of them, and a broken one."""
    folder = tmp_path / "images"
    folder.mkdir()
    found = sorted((sample_root / "tile" / "test").glob("*/*.png"))
    for index in range(70):
        shutil.copy(found[index % len(found)], folder / f"{index:02}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def _run(*command: object, root: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root), "RAY_raylet_start_wait_time_s": "300"}
    # A cluster that somebody else has is not for tests.
    environment.pop("RAY_ADDRESS", None)
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _table(place: Path) -> list[dict[str, Any]]:
    lines = "".join(part.read_text("utf-8") for part in sorted(place.glob("part-*.jsonl")))
    return sorted(map(json.loads, lines.splitlines()), key=lambda row: row["path"])


@needs_ray
def test_a_killed_worker_then_the_command_again(
    run_folder: Path, images: Path, tmp_path: Path, project_root: Path
) -> None:
    table, mark = tmp_path / "found.jsonl", tmp_path / "mark"
    done = _run(CLUSTER, "worker", run_folder, images, table, mark, root=project_root)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert mark.exists()
    assert counts["good"] + counts["anomalous"] == 70
    assert (counts["failed"], counts["lost"], counts["before"]) == (1, 0, 0)
    rows = _table(table)
    assert [Path(row["path"]).name for row in rows] == sorted(os.listdir(images))
    assert rows[-1]["error"].startswith(f"{images}/broken.png: the PNG ")
    expected = Detector.load(run_folder).predict(images / "00.png").to_dict()
    assert rows[0].keys() == expected.keys()
    assert rows[0]["score"] == pytest.approx(expected["score"], rel=1e-4)
    assert rows[0]["is_anomalous"] == expected["is_anomalous"]

    shutil.copy(images / "00.png", images / "new.png")
    again = ["predict", run_folder, images, "--engine", "ray", "--out-table", table, "--quiet"]
    done = _run("-m", "ssae_tf", *again, "--workers", 1, root=project_root)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{table}\n", "")
    assert [Path(row["path"]).name for row in _table(table)] == sorted(os.listdir(images))


@needs_ray
def test_a_killed_driver_then_the_command_again(
    run_folder: Path, images: Path, tmp_path: Path, project_root: Path
) -> None:
    table = tmp_path / "found.jsonl"
    done = _run(CLUSTER, "driver", run_folder, images, table, "", root=project_root)
    assert done.returncode == -9, done.stderr
    before = _table(table)
    assert 0 < len(before) < 71
    again = ["predict", run_folder, images, "--engine", "ray", "--out-table", table]
    done = _run("-m", "ssae_tf", *again, root=project_root)
    assert done.returncode in (0, 3), done.stderr
    assert f"71 images: {len(before)} had rows before, " in done.stderr
    rows = _table(table)
    assert [Path(row["path"]).name for row in rows] == sorted(os.listdir(images))
    assert [row for row in rows if row in before] == before


@needs_ray
def test_an_image_that_kills_its_workers_does_not_stop_the_others(
    run_folder: Path, images: Path, tmp_path: Path, project_root: Path
) -> None:
    shutil.copy(images / "00.png", images / "zz poison.png")
    table = tmp_path / "found.jsonl"
    done = _run(CLUSTER, "image", run_folder, images, table, "", root=project_root)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    # The last block: four blocks of 16 go before it.
    assert counts["lost"] == 8
    assert len(_table(table)) == 64


@needs_ray
@pytest.mark.parametrize(
    ("number", "resources", "expected"),
    [
        (None, {"CPU": 4.0}, (4, "num_cpus")),
        (None, {"CPU": 16.0, "GPU": 2.0}, (2, "num_gpus")),
        (3, {"CPU": 4.0}, (3, "num_cpus")),
        (8, {"CPU": 16.0, "GPU": 2.0}, (8, "num_cpus")),
    ],
)
def test_a_worker_for_each_device(
    number: int | None, resources: dict[str, float], expected: tuple[int, str]
) -> None:
    import ray.data  # noqa: F401

    told = _workers(number, resources)
    assert told["compute"] == sys.modules["ray"].data.ActorPoolStrategy(size=expected[0])
    assert told[expected[1]] == 1


@needs_ray
def test_more_workers_than_cores() -> None:
    with pytest.raises(RunError, match=r"the cluster's 2 cores and 0 GPUs.* Received: 3\.$"):
        _workers(3, {"CPU": 2.0})


def test_no_cluster_at_the_address(monkeypatch: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound, but nobody listens.
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(RunError, match=rf"^Ray: no cluster answers at {address}, which RAY_"):
            _check_address()
        taken.listen()
        _check_address()


def test_a_cluster_of_another_version() -> None:
    """Ray says so in six lines."""
    said = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.31.0\n    Python: 3.10.4\n"
        "This process on 127.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
    )
    assert _reason(RuntimeError(said)) == (
        "it runs Ray 2.31.0 on Python 3.10.4, this process Ray 2.60.0 on Python 3.11.7"
    )
    assert _reason(ConnectionError("nobody is there\n at all")) == (
        "ConnectionError: nobody is there"
    )
