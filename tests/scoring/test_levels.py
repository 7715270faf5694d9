"""Two levels and p-values, against hand-computed values, exhaustive ranks and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ssae_tf.errors import ConfigError, InputError
from ssae_tf.scoring.conformal import FalseAlarmRate, no_promise, p_value, ranks_for
from ssae_tf.scoring.threshold import calibrate, verdict

SCORES = (0.4, 0.1, 0.3, 0.3)


@pytest.mark.parametrize(
    ("score", "expected"),
    [(0.5, 1 / 5), (0.4, 2 / 5), (0.35, 2 / 5), (0.3, 4 / 5), (0.2, 4 / 5), (0.1, 1.0), (0.0, 1.0)],
)
def test_p_value_counts_the_image_itself_and_ties(score: float, expected: float) -> None:
    assert p_value(score, SCORES) == expected


def test_a_score_exceeds_a_threshold_exactly_when_its_p_value_is_within_the_rate() -> None:
    for rank, score in itertools.product(range(1, 5), np.arange(0.0, 0.55, 0.05).tolist()):
        exceeds = score > calibrate(SCORES, rank=rank)
        assert exceeds == (p_value(score, SCORES) <= FalseAlarmRate(4, rank).expected)


def test_over_every_order_p_values_are_uniform_and_the_plain_share_is_not() -> None:
    orders = list(itertools.permutations(range(5)))
    p_values = [p_value(last, first) for *first, last in orders]
    for alpha in (0.2, 0.4, 0.6, 0.8, 1.0):
        assert np.mean(np.array(p_values) <= alpha) == pytest.approx(alpha)
    # Never to be seen in a good image, if it were a probability; one in five has it.
    shares = [np.mean(np.array(first) >= last) for *first, last in orders]
    assert np.mean(np.array(shares) == 0.0) == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("images", "reject", "review", "ranks"),
    [
        (400, 0.005, 0.05, (2, 20)),
        (199, 0.005, 0.05, (1, 10)),
        (40, None, 0.05, (1, 2)),
        (40, None, None, (1, None)),
        (19, 0.1, None, (2, None)),
        # Both come to the highest: no score lies between.
        (40, 0.025, 0.03, (1, 1)),
    ],
)
def test_ranks_are_the_largest_within_the_rates(
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


def test_promises_of_both_levels_hold_over_two_hundred_splits() -> None:
    rng = np.random.default_rng(0)
    pool = rng.gamma(1.5, size=20_000)
    ranks = ranks_for(400, 0.005, 0.05)
    promised = [FalseAlarmRate(400, rank) for rank in ranks if rank]
    rates = []
    for _ in range(200):
        order = rng.permutation(pool)
        levels = [calibrate(order[:400], rank=one.rank) for one in promised]
        assert levels[0] > levels[1]
        rates.append([np.mean(order[400:] > level) for level in levels])
    for found, one in zip(np.transpose(rates), promised, strict=True):
        # A share has a deviation of about that of a Beta(k, n + 1 − k).
        deviation = np.sqrt(one.expected / 400 / 200)
        assert found.mean() == pytest.approx(one.expected, abs=4 * deviation)
        # 190 of 200 on average, with a deviation of three.
        assert 180 <= (found <= one.bound).sum() <= 199


def test_p_values_are_valid_over_two_hundred_splits() -> None:
    rng = np.random.default_rng(1)
    pool = rng.gamma(1.5, size=600).round(2)
    found = np.concatenate(
        [
            [p_value(one, order[:40]) for one in order[40:60]]
            for order in (rng.permutation(pool) for _ in range(200))
        ]
    )
    for alpha in (1 / 41, 0.1, 0.5):
        assert np.mean(found <= alpha) <= alpha + 3 * np.sqrt(alpha / 200)
    assert np.mean(found <= 0.5) == pytest.approx(0.5, abs=0.06)


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
    ("images", "sentence"),
    [
        (1, "From 1 good image: expect about 1 in 2 good parts to be rejected, with 95 % "
            "confidence at most 95 in 100; 300 images give 1 in 100."),
        (4, "From 4 good images: expect about 1 in 5 good parts to be rejected, with 95 % "
            "confidence at most 53 in 100; 300 images give 1 in 100."),
        (19, "From 19 good images: expect about 1 in 20 good parts to be rejected, with 95 % "
             "confidence at most 1 in 7; 300 images give 1 in 100."),
        (300, "From 300 good images: expect about 1 in 300 good parts to be rejected, with 95 % "
              "confidence at most 1 in 100."),
    ],
)  # fmt: skip
def test_the_promise_in_words(images: int, sentence: str) -> None:
    # The bound is exactly that share: the best of n images is above all others so often.
    assert (1 - FalseAlarmRate(images).bound) ** images == pytest.approx(0.05)
    assert FalseAlarmRate(images).sentence() == sentence


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
