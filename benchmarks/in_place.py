"""Something else in the place of a run's network, judged in every other respect as the run is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssae_tf import workflow
from ssae_tf.config import RunConfig
from ssae_tf.progress import Reporter


def measured_in_place(
    model: Callable[..., tf.Tensor], config: RunConfig, run: Path, reporter: Reporter
) -> dict[str, Any]:
    """metrics.json's content, with weights by place, local statistics and threshold of its own.

    Args:
        model: what answers in the network's place, (B, H, W, C) float32 to the same.
        config: which of weights and statistics there are.
        run: whose pictures and split are taken.
        reporter: where progress goes.
    """
    data = json.loads((run / workflow.ENVIRONMENT_FILE).read_text())["data"]
    split = workflow.run_split(run, config)[1]
    # How well each scale finds corruptions isn't known: all count alike.
    found = [0.75] * len(config.scoring.settled.scales)
    detector = workflow.build_detector(model, config, lambda: found, split, reporter)
    return dict(workflow.evaluate(detector, data=data, reporter=reporter))
