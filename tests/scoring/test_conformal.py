"""What thresholds promise and p-values: by hand, over every order, simulated, and on real ones."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import hypergeom

from ssae_tf.errors import ConfigError, InputError
from ssae_tf.scoring.conformal import (
    FalseAlarmRate,
    images_needed,
    no_promise,
    p_value,
    rank_for,
    ranks_for,
)
from ssae_tf.scoring.threshold import calibrate, is_anomalous, verdict

SCORES = (0.4, 0.1, 0.3, 0.3)
# Scores that trained detectors gave to good images unseen before.
_RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "false-alarms.json"
RUNS = json.loads(_RESULTS.read_text(encoding="utf-8"))["runs"]
SPLITS = 200


@pytest.mark.parametrize("n", [1, 4, 27, 40, 300])
def test_bound_of_the_maximum_is_the_closed_form(n: int) -> None:
    assert FalseAlarmRate(n).expected == 1 / (n + 1)
    assert FalseAlarmRate(n).bound == pytest.approx(1 - 0.05 ** (1 / n))


@pytest.mark.parametrize(
    ("images", "expected", "bound", "more"),
    [
        ("1 good image", "1 in 2", "95 in 100", "; 300 images give 1 in 100"),
        ("4 good images", "1 in 5", "53 in 100", "; 300 images give 1 in 100"),
        ("19 good images", "1 in 20", "1 in 7", "; 300 images give 1 in 100"),
        ("40 good images", "1 in 41", "1 in 14", "; 300 images give 1 in 100"),
        ("300 good images", "1 in 300", "1 in 100", ""),
    ],
)
def test_the_promise_in_words(images: str, expected: str, bound: str, more: str) -> None:
    assert FalseAlarmRate(int(images.split()[0])).sentence() == (
        f"From {images}: expect about {expected} good parts to be rejected, with 95 % confidence "
        f"at most {bound}{more}."
    )


def test_a_threshold_above_the_score_of_its_rank_rejects_at_most_so_many() -> None:
    sentence = FalseAlarmRate(19).sentence(is_lifted=True)
    assert sentence.startswith("From 19 good images: expect at most about 1 in 20 good parts to ")


@pytest.mark.parametrize(
    ("images", "seen", "start"),
    [
        (1, 1, "training has seen the 1 good image that the threshold comes from. "),
        (4, 4, "training has seen all the 4 good images that the threshold comes from. "),
        (4, 3, "of the 4 good images that the threshold comes from, training has seen 3 too. "),
    ],
)
def test_images_that_training_saw_promise_nothing(images: int, seen: int, start: str) -> None:
    text = no_promise(images, seen)
    assert text.startswith(f"No promise can be made: {start}")
    assert "expect" not in text


@pytest.mark.parametrize(("images", "rate", "rank"), [(99, 0.01, 1), (100, 0.05, 5), (19, 0.1, 2)])
def test_rank_is_the_largest_within_the_rate(images: int, rate: float, rank: int) -> None:
    assert rank_for(images, rate) == rank
    assert FalseAlarmRate(images, rank).expected <= rate < FalseAlarmRate(images, rank + 1).expected


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 0.001])
def test_images_needed_are_just_enough(rate: float) -> None:
    needed = images_needed(rate)
    assert rank_for(needed, rate) == 1
    if needed > 1:
        with pytest.raises(ConfigError, match=f"{needed} are needed"):
            rank_for(needed - 1, rate)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_rates_out_of_range_are_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="rate"):
        rank_for(40, rate)


@pytest.mark.parametrize(
    ("images", "reject", "review", "ranks"),
    [
        (400, 0.005, 0.05, (2, 20)),
        (40, None, 0.05, (1, 2)),
        (40, None, None, (1, None)),
        (19, 0.1, None, (2, None)),
        # Both come to the highest: no score lies between.
        (40, 0.025, 0.03, (1, 1)),
    ],
)
def test_ranks_of_two_levels(
    images: int, reject: float | None, review: float | None, ranks: tuple[int, int | None]
) -> None:
    assert ranks_for(images, reject, review) == ranks


@pytest.mark.parametrize(
    ("images", "reject", "review", "message"),
    [
        (198, 0.005, 0.05, "can't promise at most 0.005 of good parts rejected: 199 are needed"),
        (18, None, 0.05, "can't promise at most 0.05 of good parts rejected: 19 are needed"),
        (999, 0.05, 0.005, "rejected good parts of at most that of review, 0.005, .*: 0.05"),
    ],
)
def test_rates_that_can_not_be_are_refused(
    images: int, reject: float | None, review: float, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ranks_for(images, reject, review)


def test_the_threshold_of_a_rank_is_the_kth_highest() -> None:
    assert [calibrate(SCORES, rank=k) for k in (1, 2, 3, 4)] == [0.4, 0.3, 0.3, 0.1]


@pytest.mark.parametrize(
    ("score", "expected"), [(0.7, "reject"), (0.6, "review"), (0.5, "review"), (0.4, "good")]
)
def test_verdicts_lie_between_the_levels(score: float, expected: str) -> None:
    assert verdict(score, 0.6, 0.4) == expected
    assert verdict(score, 0.6, None) is None


def test_no_verdict_comes_from_what_is_no_number() -> None:
    with pytest.raises(InputError, match="finite"):
        verdict(0.5, 0.6, float("nan"))
    with pytest.raises(InputError, match="finite"):
        verdict(float("nan"), 0.6, 0.4)


@pytest.mark.parametrize(
    ("score", "expected"),
    [(0.5, 1 / 5), (0.4, 2 / 5), (0.35, 2 / 5), (0.3, 4 / 5), (0.2, 4 / 5), (0.1, 1.0), (0.0, 1.0)],
)
def test_p_value_counts_the_image_itself_and_ties(score: float, expected: float) -> None:
    assert p_value(score, SCORES) == expected
    # A score exceeds a threshold exactly when its p-value is within the rate.
    for rank in range(1, 5):
        exceeds = score > calibrate(SCORES, rank=rank)
        assert exceeds == (expected <= FalseAlarmRate(4, rank).expected)


def test_over_every_order_p_values_are_uniform_and_the_plain_share_is_not() -> None:
    orders = list(itertools.permutations(range(5)))
    p_values = [p_value(last, first) for *first, last in orders]
    tied = [p_value(last, first) for *first, last in itertools.permutations((0, 1, 1, 1, 2))]
    for alpha in (0.2, 0.4, 0.6, 0.8, 1.0):
        assert np.mean(np.array(p_values) <= alpha) == pytest.approx(alpha)
        assert np.mean(np.array(tied) <= alpha) <= alpha + 1e-12
    # Never to be seen in a good image, if it were a probability; one in five has it.
    shares = [np.mean(np.array(first) >= last) for *first, last in orders]
    assert np.mean(np.array(shares) == 0.0) == pytest.approx(1 / 5)


@pytest.mark.parametrize(("n", "rank"), [(10, 1), (40, 1), (100, 5), (400, 20)])
def test_promise_holds_over_two_hundred_calibrations(n: int, rank: int) -> None:
    rng = np.random.default_rng(0)
    promise = FalseAlarmRate(n, rank)
    # Scores with a heavy tail, as those of images are; the true rate follows from the quantile.
    thresholds = [calibrate(rng.standard_cauchy(n), -1e12, rank) for _ in range(SPLITS)]
    rates = 0.5 - np.arctan(thresholds) / np.pi
    deviation = np.sqrt(promise.expected / n / SPLITS)
    assert rates.mean() == pytest.approx(promise.expected, abs=4 * deviation)
    # 190 of 200 on average, with a deviation of three.
    assert (rates <= promise.bound).sum() >= 180
    assert (rates <= promise.bound).sum() <= 199


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("name", RUNS)
def test_promise_holds_over_two_hundred_splits_of_real_scores(name: str, rank: int) -> None:
    scores, images = np.array(RUNS[name]["scores"]), RUNS[name]["images"]
    promise, new = FalseAlarmRate(images, rank), len(scores) - images
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(SPLITS):
        known, others = np.split(rng.permutation(scores), [images])
        threshold = calibrate(known, rank=rank)
        shares.append(np.mean([is_anomalous(score, threshold) for score in others]))

    # Of so many new images more than the bound are rejected where, of the highest scores of all,
    # too few are of calibration.
    exceeding = math.floor(promise.bound * new) + 1
    within = 1 - hypergeom(len(scores), images, exceeding + rank - 1).cdf(rank - 1)
    deviation = math.sqrt(within * (1 - within) / SPLITS)
    assert np.mean(np.array(shares) <= promise.bound) == pytest.approx(within, abs=4 * deviation)
    spread = math.sqrt(promise.expected * (1 - promise.expected) * (1 / images + 1 / new) / SPLITS)
    assert np.mean(shares) == pytest.approx(promise.expected, abs=4 * spread)
