"""What a fleet costs beside the network: plain `predict`, and Ray with one and two workers.

The images are crops of a run's own test images, 64² to 96², as PNG. Each route inspects a few and
then all of them, so that what it takes to start is apart. CPU seconds are those of all processes,
Ray's included: they count where the machine has other work, as it mostly does.

    python benchmarks/fleet.py RUN [--images 10000] [--rounds N] [--out FILE.json]

With --rounds plain `predict` stands beside itself instead, and Ray is not needed: in batches, and
on a CPU that is two devices to TensorFlow, so many times in turn, with what scores differ by.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure import write_result

from ssae_tf.data.images import read_pixels, write_png
from ssae_tf.detector import Detector
from ssae_tf.result import as_unit, post_process
from ssae_tf.run_data import run_split
from ssae_tf.runtime.threads import use_cores

_SIDES = 64, 96
_FEW = 32
_PARTS = 500
_LARGE, _REPEATED = 512, 100
_ROWS = 100_000
_SUBREAPER = 36
ROUTES: dict[str, list[str]] = {
    "plain": [],
    "Ray, 1 worker": ["--engine", "ray", "--workers", "1"],
    "Ray, 2 workers": ["--engine", "ray", "--workers", "2"],
}
# `ssae-tf` where the CPU is two devices, which has to be said before TensorFlow runs.
_TWO_DEVICES = """
import sys
import tensorflow as tf
from ssae_tf.cli.main import run

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])
sys.exit(run(sys.argv[1:]))
"""
# What Python runs, and how many images at a time.
LOCAL: dict[str, tuple[list[str], str]] = {
    "alone": (["-m", "ssae_tf"], "1"),
    "in batches of 4": (["-m", "ssae_tf"], "4"),
    "alone, the CPU two devices": (["-c", _TWO_DEVICES], "1"),
}


def write_images(run: Path, folder: Path, number: int) -> list[Path]:
    """Crops of a run's test images, in two folders: a few, and all."""
    rng = np.random.default_rng(0)
    category, _ = run_split(run, Detector.load(run).config)
    sources = [read_pixels(sample.path) for sample in category.test]
    folders = [folder / "few", folder / "all"]
    for one in folders:
        one.mkdir()
    for index in range(number):
        source = sources[index % len(sources)]
        height, width = rng.integers(_SIDES[0], _SIDES[1] + 1, 2)
        y, x = (
            rng.integers(0, whole - part + 1)
            for whole, part in zip(source.shape, (height, width), strict=False)
        )
        for one in folders[index >= _FEW :]:
            write_png(one / f"{index:06}.png", source[y : y + height, x : x + width])
    return folders


def parts(run: Path, folder: Path) -> dict[str, float]:
    """CPU seconds an image of decoding, network with its map, and verdict, one after the other."""
    use_cores()
    detector = Detector.load(run)
    config, calibration = detector.config, detector.calibrated()
    spent = dict.fromkeys(("decoding", "network", "verdict"), 0.0)
    paths = sorted(folder.iterdir())[:_PARTS]
    for path in [paths[0], *paths]:
        times = [time.process_time()]
        image = as_unit(read_pixels(path), config.data.white_level)
        times.append(time.process_time())
        reconstruction, map_ = detector.inspect(image)
        times.append(time.process_time())
        level, area = calibration.threshold, calibration.min_area
        post_process("", image, reconstruction, map_, level, area, config.scoring.outline)
        times.append(time.process_time())
        # The first image has its size traced.
        if path is not paths[0] or any(spent.values()):
            for name, begin, end in zip(spent, times, times[1:], strict=False):
                spent[name] += end - begin
    return {name: seconds / len(paths) for name, seconds in spent.items()}


def decoding(run: Path, folder: Path) -> dict[str, float]:
    """CPU seconds of decoding a test image of 512², by format."""
    category, _ = run_split(run, Detector.load(run).config)
    image = cv2.resize(read_pixels(category.test[0].path), (_LARGE, _LARGE))
    spent = {}
    for name in ("png", "jpg"):
        path = str(folder / f"large.{name}")
        cv2.imwrite(path, image)
        begin = time.process_time()
        for _ in range(_REPEATED):
            read_pixels(path)
        spent[name] = (time.process_time() - begin) / _REPEATED
    return spent


def driver(folder: Path) -> dict[str, float]:
    """What the driver spends on a row: CPU seconds of the table, and bytes of what it knows."""
    import pyarrow as pa

    from ssae_tf.fleet.inspector import VERDICT
    from ssae_tf.fleet.table import Table

    paths = [f"s3://bucket/line-3/2026-11-26/camera-2/{index:010}.png" for index in range(_ROWS)]
    good = {"schema_version": 1, "score": 0.1, "threshold": 0.2, "is_anomalous": False}
    verdicts = pa.Table.from_pylist([{**good, "defects": []}] * _ROWS, schema=VERDICT)
    rows = verdicts.append_column("path", pa.array(paths))
    table = Table(str(folder / "found.parquet"), {})
    begin = time.process_time()
    table.add(rows)
    table.flush()
    seconds = (time.process_time() - begin) / _ROWS
    of_names = sum(map(sys.getsizeof, paths)) + sys.getsizeof(paths) + sys.getsizeof(set(paths))
    return {"seconds": seconds, "bytes": of_names / _ROWS}


def route(
    run: Path, folder: Path, options: list[str], program: Sequence[str] = ("-m", "ssae_tf")
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Wall and CPU seconds of a command, from start to end, and what it prints of each image."""
    command = [sys.executable, *program, "predict", str(run), str(folder), "--quiet"]
    with tempfile.TemporaryDirectory(prefix="ssae_tf_") as place:
        table = ["--out-table", f"{place}/found.parquet"] if "--engine" in options else []
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        ended = subprocess.run([*command, *options, *table], stdout=subprocess.PIPE, check=True)
        wall = time.perf_counter() - begin
        _wait_for_all()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # With a table it is the table's path that is printed.
    lines = [] if table else ended.stdout.splitlines()
    return {"wall": wall, "cpu": cpu}, [json.loads(line) for line in lines]


def local(run: Path, few: Path, whole: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Of each way on this machine: seconds, start apart, and how its results differ from the first.

    Medians over the rounds; `turned` counts verdicts, `difference` is the largest of a score as a
    share of it.
    """
    seconds: dict[str, list[list[float]]] = {name: [] for name in LOCAL}
    lines: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for name, (program, batch) in LOCAL.items():
            options = ["--batch", batch]
            start, _ = route(run, few, options, program)
            all_, lines[name] = route(run, whole, options, program)
            rest = [all_[kind] - start[kind] for kind in ("wall", "cpu")]
            seconds[name].append([start["cpu"], *rest])
    expected = lines["alone"]
    rows = {}
    for name, results in lines.items():
        pairs = list(zip(expected, results, strict=True))
        start, wall, cpu = (statistics.median(each) for each in zip(*seconds[name], strict=True))
        rows[name] = {
            "start_cpu": start,
            "wall": wall,
            "cpu": cpu,
            "difference": max(abs(a["score"] - b["score"]) / a["score"] for a, b in pairs),
            "turned": sum(a["is_anomalous"] != b["is_anomalous"] for a, b in pairs),
        }
    return rows


def _wait_for_all() -> None:
    """Ray's processes outlive the command for a moment, as children of this one."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def main() -> None:
    """Prints the figures, and keeps them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, help="without Ray, so many times in turn")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    # What a command leaves behind becomes this process's child, and is counted.
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    # The page's other figures are of one core; this section names its own cores.
    system = {"platform": platform.platform(), "cpu_count": os.cpu_count()}
    routes: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="ssae_tf_") as name:
        few, all_ = write_images(arguments.run, Path(name), arguments.images)
        if arguments.rounds:
            rows = local(arguments.run, few, all_, arguments.rounds)
            content = {"machine": system, "images": arguments.images - _FEW, "routes": rows}
            write_result(arguments.out, content, RUN=arguments.run)
            return
        of_parts = parts(arguments.run, all_)
        more = {"decoding_512": decoding(arguments.run, Path(name)), "driver": driver(Path(name))}
        for title, options in ROUTES.items():
            start, whole = (route(arguments.run, folder, options)[0] for folder in (few, all_))
            rest = {kind: whole[kind] - start[kind] for kind in whole}
            routes[title] = {"start": start, "rest": rest}
    count = arguments.images - _FEW
    content = {"machine": system, "images": count, "parts": of_parts, "routes": routes, **more}
    write_result(arguments.out, content, RUN=arguments.run)


if __name__ == "__main__":
    main()
