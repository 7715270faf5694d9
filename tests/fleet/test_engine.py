"""A fleet on a cluster of this machine: nothing is lost, and nothing comes twice.

Everything with Ray runs in processes of its own: its threads and hooks stay out of the tests'.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.detector import Detector
from ssae_tf.errors import RunError
from ssae_tf.fleet.engine import _workers

Invoke = Callable[..., Any]

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


def test_without_ray(
    invoke: Invoke, run_folder: Path, images: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    table = tmp_path / "found.parquet"
    done = invoke("predict", run_folder, images, "--engine", "ray", "--out-table", table)
    assert (done.code, done.out) == (1, [])
    assert done.error.startswith("Error: --engine ray needs Ray Data (")
    assert done.error.endswith(": pip install 'ssae-tf[ray]'")
    assert not table.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--engine", "ray"], "--engine ray needs --out-table"),
        (["--engine", "ray", "--out-table", "t.parquet", "--tile", "64"], "takes no --out"),
        (["--engine", "ray", "--out-table", "t.parquet", "--out", "o"], "takes no --out"),
        (["--engine", "ray", "--out-table", "t.csv"], "a name ending in .parquet or .jsonl: t.csv"),
        (["--out-table", "t.parquet"], "--out-table and --workers need --engine ray"),
        (["--workers", "2"], "--out-table and --workers need --engine ray"),
    ],
)
def test_options_that_do_not_go_together(
    invoke: Invoke, run_folder: Path, images: Path, arguments: list[str], sentence: str
) -> None:
    done = invoke("predict", run_folder, images, *arguments)
    assert done.code == 2
    assert sentence in done.error


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


@needs_ray
def test_no_cluster_at_the_address(
    run_folder: Path, images: Path, tmp_path: Path, project_root: Path
) -> None:
    script = (
        "import os, sys; os.environ['RAY_ADDRESS'] = '127.0.0.1:1'\n"
        "from ssae_tf.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    options = ["--engine", "ray", "--out-table", tmp_path / "found.parquet"]
    done = _run("-c", script, "predict", run_folder, images, *options, root=project_root)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("Error: Ray: no connection to a cluster (")
