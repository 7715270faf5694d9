"""What each training setting of preset `quick` is worth: the same steps with one of them changed.

Every variant trains on the same pictures in the same order from the same seed, and is judged on the
*select* split: mean absolute errors outside and inside M, in inference mode and in training mode of
batch normalisation. Where there is a test set its AUROCs are shown beside, for reading only.

    python benchmarks/learning.py --data ROOT --category NAME [--steps 300] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

from figures import write_result

from ssae_tf import workflow
from ssae_tf.config import override, preset
from ssae_tf.progress import Reporter
from ssae_tf.training.logs import read_history
from ssae_tf.training.schedule import with_steps

VARIANTS: dict[str, dict[str, Any]] = {
    "quick": {},
    "start: random": {"model.start": "random"},
    "batch statistics in training": {"training.freeze_norm": 1.0},
    "both of these": {"training.freeze_norm": 1.0, "model.start": "random"},
    "norm: l2, as printed": {"objective.norm": "l2"},
    "norm: l2_squared": {"objective.norm": "l2_squared"},
    "all taps of the dilated kernels": {"model.reach": 1.0},
    "strong deformation": {"corruption.alpha": [50.0, 200.0]},
    "brightness and tint": {"corruption.brightness": 0.15, "corruption.tint": 0.1},
    "learning rate 3e-4": {"training.learning_rate": 3e-4},
    "learning rate 3e-3": {"training.learning_rate": 3e-3},
}
COLUMNS = ("outside", "outside_training", "inside", "inside_training")


def train(
    data: Path, category: str, steps: int, changes: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Figures of one variant: the judgement at the last step, the metrics, and the time."""
    config = override(preset("quick", category), {"training.evaluations": 4, **changes})
    training = with_steps(config.training, steps / config.training.steps)
    config = dataclasses.replace(config, training=training)
    begin = time.monotonic()
    fitted = workflow.fit(data, category, out=folder, config=config, reporter=Reporter(quiet=True))
    rows = read_history(folder / "history.csv", training.steps)
    metrics = fitted.metrics or {}
    return {
        "changes": changes,
        "seconds": time.monotonic() - begin,
        "history": [dataclasses.asdict(row) for row in rows],
        **{name: getattr(rows[-1], name) for name in COLUMNS},
        **{name: metrics.get(name) for name in ("image_auroc", "pixel_auroc", "aupro")},
    }


def main() -> None:
    """Prints a Markdown table, and writes the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--category", required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    names = (*COLUMNS, "image_auroc", "pixel_auroc", "aupro")
    print("| setting changed |", " | ".join(names), "|")
    print("|---" * (len(names) + 1) + "|", flush=True)
    results = {}
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            found = train(
                arguments.data,
                arguments.category,
                arguments.steps,
                VARIANTS[name],
                Path(folder) / "run",
            )
        results[name] = found
        cells = ("–" if found[key] is None else f"{found[key]:.4f}" for key in names)
        print(f"| {name} |", " | ".join(cells), "|", flush=True)
        write_result(arguments.out, {"results": results}, ROOT=arguments.data)


if __name__ == "__main__":
    main()
