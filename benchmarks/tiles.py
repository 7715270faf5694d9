"""What tiles cost and lose: the map of an image in tiles beside that of the whole, by overlap.

Seconds are from pixels to verdict, as `predict --tile` gives it.

With --side, the image is first continued by mirroring to a square of that many pixels; without
--halos only the overlap that loses nothing is run, and the whole image never: for images that
memory could not hold.

    python benchmarks/tiles.py RUN PICTURE [--tile 256] [--halos 0 16 32 64 128] [--side 8192]
        [--out FILE.json]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import peak, write_result

from ssae_tf.data.images import read_image
from ssae_tf.detector import Detector
from ssae_tf.ops.resampling import reflect_indices


def main() -> None:
    """Prints a Markdown table, and keeps the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--halos", type=int, nargs="*", default=[])
    parser.add_argument("--side", type=int)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    detector = Detector.load(arguments.run)
    x = read_image(arguments.image, detector.config.data.white_level)
    if arguments.side:
        rows, columns = (reflect_indices(0, arguments.side, size).numpy() for size in x.shape[:2])
        x = x[rows][:, columns]
    expected = detector.inspect(x)[1] if arguments.halos else None
    print("| halo | largest difference of the map | seconds |\n|---|---|---|")
    found: list[dict[str, Any]] = []
    for halo in [*arguments.halos, None]:
        tiles = detector.tiles(arguments.tile, halo)
        begin = time.perf_counter()
        map_ = detector.predict(x, tiles=tiles).anomaly_map
        seconds = time.perf_counter() - begin
        difference = None if expected is None else float(np.abs(map_ - expected).max())
        shown = "" if difference is None else f"{difference:.1e}"
        note = " (receptive field)" if halo is None else ""
        print(f"| {tiles.halo}{note} | {shown} | {seconds:.1f} |", flush=True)
        found.append({"halo": tiles.halo, "largest_difference": difference, "seconds": seconds})
    calibration = detector.calibration
    assert calibration is not None
    print(
        f"{x.shape[0]}×{x.shape[1]} pixels, tiles of {tiles.side}, receptive field {tiles.reach} "
        f"to either side, threshold {calibration.threshold:.3g}, peak memory "
        f"{peak() / 2**10:.1f} GiB"
    )
    content = {
        "width": detector.config.model.width,
        "shape": list(x.shape),
        "tile": tiles.side,
        "reach": tiles.reach,
        "threshold": calibration.threshold,
        "peak_bytes": round(peak() * 2**20),
        "halos": found,
    }
    write_result(arguments.out, content, RUN=arguments.run, PICTURE=arguments.image)


if __name__ == "__main__":
    main()
