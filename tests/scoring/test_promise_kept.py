"""What a threshold promises, on scores that trained detectors gave to good images unseen before."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import hypergeom

from ssae_tf.scoring.conformal import FalseAlarmRate, p_value
from ssae_tf.scoring.threshold import calibrate, is_anomalous

_RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "false-alarms.json"
RUNS = json.loads(_RESULTS.read_text(encoding="utf-8"))["runs"]
SPLITS = 200


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("name", RUNS)
def test_promise_holds_over_two_hundred_random_splits(name: str, rank: int) -> None:
    scores, images = np.array(RUNS[name]["scores"]), RUNS[name]["images"]
    promise, new = FalseAlarmRate(images, rank), len(scores) - images
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(SPLITS):
        known, others = np.split(rng.permutation(scores), [images])
        threshold = calibrate(known, rank=rank)
        rejected = [is_anomalous(score, threshold) for score in others]
        assert rejected == [p_value(score, known) <= promise.expected for score in others]
        shares.append(np.mean(rejected))

    # Of so many new images more than the bound are rejected where, of the highest scores of all,
    # too few are of calibration.
    exceeding = math.floor(promise.bound * new) + 1
    within = 1 - hypergeom(len(scores), images, exceeding + rank - 1).cdf(rank - 1)
    deviation = math.sqrt(within * (1 - within) / SPLITS)
    assert np.mean(np.array(shares) <= promise.bound) == pytest.approx(within, abs=4 * deviation)
    spread = math.sqrt(promise.expected * (1 - promise.expected) * (1 / images + 1 / new) / SPLITS)
    assert np.mean(shares) == pytest.approx(promise.expected, abs=4 * spread)
