"""What local statistics add to a run: the same network with and without them.

Both maps are calibrated on the same pictures and measured on the test pictures of the run.

    python benchmarks/local_statistics.py RUN [--save FOLDER] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from figures import print_metrics, write_result

from ssae_tf import workflow
from ssae_tf.config import override
from ssae_tf.detector import Detector
from ssae_tf.progress import Reporter

FIGURES = ("image_auroc", "pixel_auroc", "aupro", "tpr", "tnr")


def main() -> None:
    """Prints a Markdown table, and writes the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--save", type=Path, help="folder for the run with statistics")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    reporter, run = Reporter(), arguments.run
    detector = Detector.load(run)
    data = json.loads((run / workflow.ENVIRONMENT_FILE).read_text())["data"]
    results: dict[str, Any] = {}
    for name in ("residual alone", "with local statistics"):
        asked_for = name != "residual alone"
        config = override(detector.config, {"scoring.local_statistics": asked_for})
        split = workflow.run_split(run, config)[1]
        one = detector.replace(config=config, statistics=None)
        if asked_for:
            statistics = workflow.local_statistics(one, split, reporter)
            one = one.replace(statistics=statistics)
        one = workflow.calibrated(one, split.calibrate, reporter)
        results[name] = workflow.evaluate(one, data=data, reporter=reporter)
    if arguments.save:
        one.save(arguments.save)
        for file in (workflow.ENVIRONMENT_FILE, workflow.SPLIT_FILE):
            shutil.copy(run / file, arguments.save / file)
    print_metrics("map", results, FIGURES)
    write_result(arguments.out, {"results": results}, RUN=run)


if __name__ == "__main__":
    main()
