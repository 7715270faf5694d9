"""False-alarm rates, against hand-computed values, simulation and exhaustive ranks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ssae_tf.errors import ConfigError
from ssae_tf.scoring.conformal import FalseAlarmRate, images_needed, rank_for
from ssae_tf.scoring.threshold import calibrate


@pytest.mark.parametrize("n", [1, 4, 27, 40, 300])
def test_bound_of_the_maximum_is_the_closed_form(n: int) -> None:
    assert FalseAlarmRate(n).expected == 1 / (n + 1)
    assert FalseAlarmRate(n).bound == pytest.approx(1 - 0.05 ** (1 / n))


def test_sentence_says_what_is_expected_bounded_and_what_more_images_give() -> None:
    assert FalseAlarmRate(40).sentence() == (
        "From 40 good images: expect about 1 in 41 good parts to be rejected, with 95 % confidence "
        "at most 1 in 14; 300 images give 1 in 100."
    )


def test_bound_above_a_half_is_said_out_of_a_hundred() -> None:
    assert "at most 95 in 100" in FalseAlarmRate(1).sentence()
    assert FalseAlarmRate(1).sentence().startswith("From 1 good image: expect about 1 in 2 ")


def test_many_images_are_not_told_what_fewer_give() -> None:
    assert FalseAlarmRate(400).sentence().endswith("at most 1 in 130.")


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


def test_the_threshold_of_a_rank_is_the_kth_highest() -> None:
    scores = [0.2, 0.9, 0.4, 0.4]
    assert [calibrate(scores, rank=k) for k in (1, 2, 3, 4)] == [0.9, 0.4, 0.4, 0.2]


def test_every_order_of_five_images_gives_the_expected_rate_exactly() -> None:
    rejected = [
        last > calibrate(first, rank=2) for *first, last in itertools.permutations(range(5))
    ]
    assert np.mean(rejected) == FalseAlarmRate(4, 2).expected


@pytest.mark.parametrize(("n", "rank"), [(10, 1), (40, 1), (100, 5)])
def test_promise_holds_over_two_hundred_calibrations(n: int, rank: int) -> None:
    rng = np.random.default_rng(0)
    promise = FalseAlarmRate(n, rank)
    # Scores with a heavy tail, as those of images are; the true rate follows from the quantile.
    thresholds = [calibrate(rng.standard_cauchy(n), -1e12, rank) for _ in range(200)]
    rates = 0.5 - np.arctan(thresholds) / np.pi
    deviation = np.sqrt(promise.expected / n / 200)
    assert rates.mean() == pytest.approx(promise.expected, abs=4 * deviation)
    # 190 of 200 on average, with a deviation of three.
    assert (rates <= promise.bound).sum() >= 180
    assert (rates <= promise.bound).sum() <= 199
