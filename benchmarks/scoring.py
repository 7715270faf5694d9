"""What the verdict and `evaluate` cost beside the network, in time and in memory.

Maps are those of a run's test images, resized to SIDE². For `evaluate` there are more images than
a category has: each map is moved and scaled a little every time it comes again.

    python benchmarks/scoring.py RUN [--side 512] [--images 100 300 1000] [--work FOLDER]
        [--out FILE.json]
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
from measure import peak, write_result

from ssae_tf.data.cache import resize
from ssae_tf.data.images import read_image
from ssae_tf.data.mvtec import read_sample_mask
from ssae_tf.detector import Detector
from ssae_tf.evaluation.protocol import Evaluation, ImageResult
from ssae_tf.files import read_json, write_json
from ssae_tf.result import post_process
from ssae_tf.run_data import run_split
from ssae_tf.scoring.threshold import image_score

# Test images that maps are made of: every so many of the category.
_MAPS = 24
_KEPT = "maps.npz"


def verdicts(run: Path, side: int, folder: Path) -> dict[str, float]:
    """Milliseconds over test images: an image score, and a verdict with mask and defects.

    The maps are left in the folder for `evaluate`.
    """
    detector = Detector.load(run)
    calibration = detector.calibrated()
    threshold, min_area = calibration.threshold, calibration.min_area
    category, _ = run_split(run, detector.config)
    times: dict[str, list[float]] = {"image score": [], "verdict with defects": []}
    maps, masks = [], []
    for sample in category.test[:: max(1, len(category.test) // _MAPS)]:
        original = read_image(sample.path, detector.config.data.white_level)
        image = resize(original, side, side)
        reconstruction, map_ = detector.inspect(image)
        begin = time.perf_counter()
        image_score(map_, min_area)
        scored = time.perf_counter()
        post_process(
            "", image, reconstruction, map_, threshold, min_area, detector.config.scoring.outline
        )
        times["image score"].append(scored - begin)
        times["verdict with defects"].append(time.perf_counter() - scored)
        mask = read_sample_mask(sample, original.shape[:2])
        empty = np.zeros((side, side), np.float32)
        resized = empty if mask is None else resize(mask.astype(np.float32), side, side)
        maps.append(map_)
        masks.append(resized > 0.5)
    np.savez(folder / _KEPT, maps=np.stack(maps), masks=np.stack(masks))
    medians = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    return medians | {"slowest image score": 1e3 * max(times["image score"])}


def evaluate(folder: Path, images: int) -> dict[str, float]:
    """Seconds and MiB that the figures of a number of images take; run in a process of its own.

    Memory is what the process grows by at its peak, beside the maps that everything is made of.
    """
    with np.load(folder / _KEPT) as kept:
        maps, masks = kept["maps"], kept["masks"]
    rng = np.random.default_rng(0)
    evaluation = Evaluation()
    seconds = 0.0
    before = peak()
    for index in range(images):
        shift = tuple(rng.integers(0, maps.shape[1:]))
        which = index % len(maps)
        # Times 0.9 to 1.1, so that no value comes twice.
        map_ = np.roll(maps[which], shift, (0, 1)) * np.float32(rng.uniform(0.9, 1.1))
        mask = np.roll(masks[which], shift, (0, 1))
        kind = "defect" if mask.any() else "good"
        result = ImageResult(str(index), kind, float(map_.max()), True, map_, map_ > 1.0, mask)
        begin = time.perf_counter()
        evaluation.add(result)
        seconds += time.perf_counter() - begin
    begin = time.perf_counter()
    evaluation.metrics(1.0, 1)
    seconds += time.perf_counter() - begin
    of_maps = images * maps[0].nbytes / 2**20
    return {"seconds": seconds, "mib": peak() - before, "mib_of_maps": of_maps}


def main() -> None:
    """Prints the figures, and keeps them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--work", type=Path, default=Path("scoring-maps"), help="for maps")
    parser.add_argument("--evaluate", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    folder = arguments.work
    if arguments.evaluate:
        write_json(folder / "evaluated.json", evaluate(folder, arguments.evaluate))
        return
    folder.mkdir(parents=True, exist_ok=True)
    times = verdicts(arguments.run, arguments.side, folder)
    rows: list[dict[str, Any]] = []
    for images in arguments.images:
        command = [sys.executable, *sys.argv, "--evaluate", str(images)]
        subprocess.run(command, check=True)
        rows.append({"pictures": images, **read_json(folder / "evaluated.json")})
    content = {"milliseconds": times, "evaluate": rows}
    write_result(arguments.out, content, RUN=arguments.run, FOLDER=arguments.work)


if __name__ == "__main__":
    main()
