"""Drift: p-values and bets by hand, false alarms and power by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ssae_tf.errors import ConfigError
from ssae_tf.scoring.drift import DAY, YEAR, Drift, ExchangeabilityTest, smoothed_p_value

A_DAY = 20


@pytest.mark.parametrize(
    ("score", "u", "expected"),
    [
        # Of 4: one above 3, none equal.
        (3.0, 0.5, 1.5 / 5),
        # Two equal, one above.
        (2.0, 0.25, (1 + 0.25 * 3) / 5),
        (9.0, 0.5, 0.5 / 5),
        (0.0, 1.0, 5 / 5),
    ],
)
def test_p_value_of_a_few_scores(score: float, u: float, expected: float) -> None:
    assert smoothed_p_value([1.0, 2.0, 2.0, 4.0], score, u) == expected


def test_p_value_without_a_reference_is_the_draw() -> None:
    assert smoothed_p_value([], 3.0, 0.3) == 0.3


def test_p_values_of_every_order_are_uniform() -> None:
    # Of all orders of 1, 2, 2, 3 the last one's p-value is below ¼, ½, ¾ with these chances.
    us = (np.arange(1000) + 0.5) / 1000
    found = [
        smoothed_p_value(sorted(order[:-1]), order[-1], u)
        for order in itertools.permutations((1, 2, 2, 3))
        for u in us
    ]
    for level in (0.25, 0.5, 0.75):
        assert np.mean(np.array(found) < level) == pytest.approx(level, abs=1e-3)


def test_bets_of_two_numbers_by_hand() -> None:
    test = ExchangeabilityTest((1.0, 3.0), head_start=2.0)
    # Above both, u = ½: p = 1/6. Equal capital, so that both slopes cancel: a factor of 1.
    assert test.add(4.0, 0.5, weight=1.0, time=10.0) == pytest.approx(1 / 6)
    assert test.statistic == pytest.approx(3.0)
    # Slope −1 has won a third, +1 lost one: 4/9, 3/9, 2/9. Above all three: p = 1/8.
    assert test.add(5.0, 0.5, weight=0.5, time=20.0) == pytest.approx(1 / 8)
    shares = [0.99 * share + 0.01 / 3 for share in (4 / 9, 3 / 9, 2 / 9)]
    factor = shares[0] * 1.375 + shares[1] + shares[2] * 0.625
    assert test.statistic == pytest.approx(3.5 * factor)
    assert test.evidence == pytest.approx(factor)
    assert test.reference == [1.0, 3.0, 4.0, 5.0]


def test_since_is_the_latest_time_without_evidence() -> None:
    test = ExchangeabilityTest(range(100))
    # By turns low and high.
    for time in range(50):
        test.add(50.0 + (-1) ** time * 20.0, 0.5, 1.0, time)
    for time in range(50, 70):
        test.add(1e3 + time, 0.5, 1.0, time)
    assert test.since is not None
    assert 45 <= test.since <= 55
    assert test.count == 70 - test.since
    assert test.mean_p_value < 0.1


def _service(scores: np.ndarray, calibration: np.ndarray, seed: int, **settings: float) -> list:
    drift = Drift(calibration, max(calibration), seed=seed, **settings)
    alarms = []
    for number, score in enumerate(scores):
        if (alarm := drift.add(float(score), number * DAY / A_DAY)) is not None:
            alarms.append((number / A_DAY, alarm))
    return alarms


def test_false_alarms_keep_to_the_rate() -> None:
    # Five images of calibration, and scores with a heavy tail: both would break a fixed reference.
    years, rate = 12, 2.0
    alarms = 0
    for seed in range(years):
        rng = np.random.default_rng(seed)
        scores = rng.standard_cauchy(365 * A_DAY)
        alarms += len(_service(scores, rng.standard_cauchy(5), seed, alarms_per_year=rate))
    # At most 24 expected; with a deviation of 5, more than 39 would come once in 700.
    assert 0 < alarms <= 39


@pytest.mark.parametrize(("shift", "rose"), [(2.0, True), (-2.0, False)])
def test_scores_that_move_are_noticed_with_their_day(shift: float, rose: bool) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=100 * A_DAY)
    scores[50 * A_DAY :] += shift
    calibration = np.append(rng.normal(size=30), 5.0)
    day, alarm = _service(scores, calibration, 0)[0]
    assert 50 < day < 55
    assert (alarm.of, alarm.rose) == ("scores", rose)
    assert 45 < alarm.since / DAY < 52
    assert alarm.evidence > 100


def test_more_rejected_is_noticed_though_their_scores_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=100 * A_DAY)
    # One in fifty is defective, later one in four.
    defective = rng.random(len(scores)) < np.where(np.arange(len(scores)) < 1000, 0.02, 0.25)
    scores[defective] = 100.0
    day, alarm = _service(scores, np.append(rng.normal(size=30), 5.0), 0)[0]
    assert 50 < day < 60
    assert (alarm.of, alarm.rose) == ("rejections", True)


def test_a_steady_share_of_defects_is_no_drift() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=365 * A_DAY)
    scores[rng.random(len(scores)) < 0.05] = 100.0
    assert not _service(scores, np.append(rng.normal(size=300), 5.0), 0)


def test_a_threshold_within_the_scores_is_no_drift() -> None:
    # Half of calibration lies above it: compared with these, all good images would score low.
    rng = np.random.default_rng(0)
    calibration = rng.normal(size=400)
    drift = Drift(calibration, float(np.median(calibration)))
    scores = rng.normal(size=60 * A_DAY).tolist()
    assert not any(drift.add(score, number * DAY / A_DAY) for number, score in enumerate(scores))


def test_drift_that_stays_is_told_again_a_day_later_at_the_earliest() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=60 * A_DAY) + 3.0
    days = [day for day, _ in _service(scores, np.append(rng.normal(size=300), 9.0), 0)]
    assert len(days) > 2
    assert min(np.diff(days)) >= 1.0


def test_a_clock_that_jumps_counts_as_a_day() -> None:
    drift = Drift([0.1, 0.2, 0.3], 1.0, alarms_per_year=1.0)
    for time in (0.0, 100 * YEAR, 50 * YEAR, 150 * YEAR):
        assert drift.add(0.2, time) is None
    # A day to begin with and two jumps ahead, of two years; four images move it little.
    for share in drift.evidence.values():
        assert share == pytest.approx(3 * DAY / (2 * YEAR), rel=0.5)


def test_the_same_results_leave_the_same_state() -> None:
    rng = np.random.default_rng(0)
    scores = rng.choice([0.0, 0.5, 2.0], 500)
    first, second = (Drift([0.0, 0.5], 1.0, seed=3) for _ in range(2))
    for number, score in enumerate(scores):
        assert first.add(score, number * 60.0) == second.add(score, number * 60.0)
    assert first.evidence == second.evidence


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_rates_out_of_range_are_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="Expected a number above 0"):
        Drift([0.1], 1.0, alarms_per_year=rate)
