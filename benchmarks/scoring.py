"""What the verdict and `evaluate` cost beside the network, in time and in memory.

Maps are those of a run's test pictures, resized to SIDE². For `evaluate` there are more pictures
than a category has: each map is moved and scaled a little every time it comes again.

    python benchmarks/scoring.py RUN [--side 512] [--pictures 100 300 1000] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from figures import write_result
from memory import peak

from ssae_tf.data.cache import resize
from ssae_tf.data.images import read_image
from ssae_tf.data.mvtec import read_sample_mask
from ssae_tf.detector import Detector, judged
from ssae_tf.evaluation.protocol import Evaluation, PictureResult
from ssae_tf.files import read_json, write_json
from ssae_tf.run_data import run_split
from ssae_tf.threshold import image_score

# Test pictures that maps are made of: every so many of the category.
_MAPS = 24
_KEPT = "maps.npz"


def network_and_score(run: Path, side: int, folder: Path) -> dict[str, float]:
    """Medians over pictures, milliseconds: network, whole map, its score, and a verdict with all.

    The maps are left in the folder for `evaluate`.
    """
    detector = Detector.load(run)
    calibration = detector.calibration
    assert calibration is not None
    found, _ = run_split(run, detector.config)
    names = ("network", "map", "image score", "verdict with defects")
    times: dict[str, list[float]] = {name: [] for name in names}
    maps, masks = [], []
    outline = detector.config.scoring.outline
    for index, sample in enumerate(found.test[:: max(1, len(found.test) // _MAPS)]):
        original = read_image(sample.path, detector.config.data.white_level)
        picture = resize(original, side, side)
        x = tf.constant(picture[None])
        before = time.perf_counter()
        detector.network(x).numpy()
        begin = time.perf_counter()
        reconstruction, map_ = detector.inspect(picture)
        inspected = time.perf_counter()
        image_score(map_, calibration.min_area)
        scored = time.perf_counter()
        threshold, min_area = calibration.threshold, calibration.min_area
        judged("", picture, reconstruction, map_, threshold, min_area, outline)
        if index:  # The first one waits for tracing.
            times["network"].append(begin - before)
            times["map"].append(inspected - begin)
            times["image score"].append(scored - inspected)
            times["verdict with defects"].append(time.perf_counter() - scored)
        mask = read_sample_mask(sample, original.shape[:2])
        empty = np.zeros((side, side), np.float32)
        resized = empty if mask is None else resize(mask.astype(np.float32), side, side)
        maps.append(map_)
        masks.append(resized > 0.5)
    np.savez(folder / _KEPT, maps=np.stack(maps), masks=np.stack(masks))
    found = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    return found | {"slowest image score": 1e3 * max(times["image score"])}


def evaluate(folder: Path, pictures: int) -> dict[str, float]:
    """Seconds and MiB that the figures of a number of pictures take; run in a process of its own.

    Memory is what the process grows by at its peak, beside the maps that everything is made of.
    """
    with np.load(folder / _KEPT) as kept:
        maps, masks = kept["maps"], kept["masks"]
    rng = np.random.default_rng(0)
    evaluation = Evaluation()
    seconds = 0.0
    before = peak()
    for index in range(pictures):
        shift = tuple(rng.integers(0, maps.shape[1:]))
        which = index % len(maps)
        # Times 0.9 to 1.1, so that no value comes twice.
        map_ = np.roll(maps[which], shift, (0, 1)) * np.float32(rng.uniform(0.9, 1.1))
        mask = np.roll(masks[which], shift, (0, 1))
        kind = "defect" if mask.any() else "good"
        result = PictureResult(str(index), kind, float(map_.max()), True, map_, map_ > 1.0, mask)
        begin = time.perf_counter()
        evaluation.add(result)
        seconds += time.perf_counter() - begin
    begin = time.perf_counter()
    evaluation.metrics(1.0, 1)
    seconds += time.perf_counter() - begin
    of_maps = pictures * maps[0].nbytes / 2**20
    return {"seconds": seconds, "mib": peak() - before, "mib_of_maps": of_maps}


def slope(rows: list[dict[str, float]], key: str) -> float:
    """Of the logarithm of a figure over that of the number of pictures, by least squares."""
    x, y = (np.log([row[name] for row in rows]) for name in ("pictures", key))
    return float(np.polyfit(x, y, 1)[0])


def main() -> None:
    """Prints Markdown tables, and writes the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--pictures", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--work", type=Path, default=Path("scoring-maps"), help="for maps")
    parser.add_argument("--evaluate", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    folder = arguments.work
    if arguments.evaluate:
        write_json(folder / "evaluated.json", evaluate(folder, arguments.evaluate))
        return
    folder.mkdir(parents=True, exist_ok=True)
    times = network_and_score(arguments.run, arguments.side, folder)
    print("| | ms |\n|---|---|")
    for name, value in times.items():
        print(f"| {name} | {value:.1f} |")
    print("\n| pictures | s | s of the network | MiB | MiB of maps |\n|---|---|---|---|---|")
    rows: list[dict[str, Any]] = []
    for pictures in arguments.pictures:
        command = [sys.executable, *sys.argv, "--evaluate", str(pictures)]
        subprocess.run(command, check=True)
        row = {"pictures": pictures, **read_json(folder / "evaluated.json")}
        row["seconds_of_network"] = pictures * times["network"] / 1e3
        rows.append(row)
        print(
            f"| {pictures} | {row['seconds']:.1f} | {row['seconds_of_network']:.0f} "
            f"| {row['mib']:.0f} | {row['mib_of_maps']:.0f} |",
            flush=True,
        )
    slopes = {key: slope(rows, key) for key in ("seconds", "mib")} if len(rows) > 1 else {}
    for key, value in slopes.items():
        print(f"slope of log {key} over log pictures: {value:.2f}")
    content = {"milliseconds": times, "evaluate": rows, "slopes": slopes}
    write_result(arguments.out, content, RUN=arguments.run, FOLDER=arguments.work)


if __name__ == "__main__":
    main()
