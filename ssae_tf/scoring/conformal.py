"""What a threshold from good images promises: split conformal prediction.

A new good image taken like the n calibration images (exchangeable with them, and like them unseen
by training) has any of n + 1 ranks among their scores with the same probability. A threshold at
the k-th highest of n scores therefore rejects a share of k / (n + 1) of good images on average,
and for one calibration this share follows a Beta(k, n + 1 − k) distribution, at most (Vovk,
Gammerman and Shafer, 2005; Vovk, 2012). No assumption is made on how scores are distributed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

# Not `scipy.stats.beta`: every command that opens a run would wait for all of scipy.stats.
from scipy.special import betaincinv

from ssae_tf.errors import ConfigError, count_of

CONFIDENCE = 0.95
# A number of images that is worth collecting, as something to compare with.
_MANY = 300


@dataclass(frozen=True)
class FalseAlarmRate:
    """How many good images a threshold rejects.

    Attributes:
        images: n, the calibration images.
        rank: k, the threshold is the k-th highest of their scores, or higher.
    """

    images: int
    rank: int = 1

    @property
    def expected(self) -> float:
        """Share of new good images rejected, on average over calibrations: k / (n + 1)."""
        return self.rank / (self.images + 1)

    @property
    def bound(self) -> float:
        """Share that is not exceeded in 95 of 100 calibrations; with k = 1, 1 − 0.05^(1 / n)."""
        return float(betaincinv(self.rank, self.images + 1 - self.rank, CONFIDENCE))

    def to_dict(self) -> dict[str, Any]:
        """For calibration.json: n, k, and both shares."""
        return {
            **asdict(self),
            "expected": self.expected,
            "bound": self.bound,
            "confidence": CONFIDENCE,
        }

    def sentence(self, what: str = "rejected", *, is_lifted: bool = False) -> str:
        """In plain words, with what more images would give.

        Args:
            what: happens to the share of good parts.
            is_lifted: whether the threshold is above the score of its rank, so that fewer are.
        """
        about = "at most about" if is_lifted else "about"
        text = (
            f"From {count_of(self.images, 'good image')}: expect {about} {_one_in(self.expected)} "
            f"good parts to be {what}, with 95 % confidence at most {_one_in(self.bound)}"
        )
        if self.images < _MANY and self.rank == 1:
            text += f"; {_MANY} images give {_one_in(FalseAlarmRate(_MANY).bound)}"
        return f"{text}."


def no_promise(images: int, seen: int) -> str:
    """Why nothing is promised where training has `seen` some of the calibration images."""
    those = f"the {count_of(images, 'good image')} that the threshold comes from"
    known = f"training has seen {'all ' if images > 1 else ''}{those}"
    if seen < images:
        known = f"of {those}, training has seen {seen} too"
    return (
        f"No promise can be made: {known}. Such images score lower than new ones will, so that "
        "more good parts will be rejected than their number says. A promise takes more good "
        "images, some in validation/good, or `ssae-tf calibrate --data` on others."
    )


def p_value(score: float, scores: Iterable[float]) -> float:
    """How usual a score is among good images: the conformal p-value, (1 + m) / (n + 1).

    m of the n scores are at least as high. The image itself counts as one of n + 1, which m / n,
    the plain share of good scores at least as high, leaves out: a good image has p ≤ α with a
    probability of at most α, for every α, whereas m / n is 0, as if it could not be a good one,
    once in n + 1 good images. A score exceeds the k-th highest exactly when p ≤ k / (n + 1).

    Args:
        score: of the image.
        scores: of good images, n of them, none of which training has seen.

    Returns:
        1 / (n + 1), for a score above all, to 1.
    """
    known = list(scores)
    return (1 + sum(one >= score for one in known)) / (len(known) + 1)


def ranks_for(
    images: int, reject: float | None = None, review: float | None = None
) -> tuple[int, int | None]:
    """The ranks of the threshold and of the level of review.

    Args:
        images: n, at least 1.
        reject: accepted share of good images above the threshold; None for the least that so many
            images allow.
        review: the same above the level of review, those rejected among them; None for no such
            level.

    Raises:
        ConfigError: so few images can't promise so small a rate, or fewer are to be reviewed or
            rejected than rejected.
    """
    if reject is not None and review is not None and reject > review:
        raise ConfigError(
            f"Expected a rate of rejected good parts of at most that of review, {review:.3g}, "
            f"which includes them. Received: {reject:.3g}."
        )
    rank = 1 if reject is None else rank_for(images, reject)
    return rank, None if review is None else rank_for(images, review)


def images_needed(rate: float) -> int:
    """Calibration images from which on a rate of false alarms can be promised: n + 1 ≥ 1 / rate."""
    return max(1, math.ceil(1.0 / rate - 1e-9) - 1)


def rank_for(images: int, rate: float) -> int:
    """The largest k with k / (n + 1) ≤ rate.

    Args:
        images: n, at least 1.
        rate: accepted share of good images rejected, 0 < rate < 1.

    Raises:
        ConfigError: so few images can't promise so small a rate.
    """
    if not 0.0 < rate < 1.0:
        raise ConfigError(
            f"Invalid value for the rate of false alarms. Expected 0 < rate < 1. Received: {rate}."
        )
    rank = math.floor(rate * (images + 1) + 1e-9)
    if not rank:
        raise ConfigError(
            f"{count_of(images, 'good image')} can't promise at most {rate:.3g} of good parts "
            f"rejected: {images_needed(rate)} are needed."
        )
    return min(rank, images)


def _one_in(rate: float) -> str:
    """A share as people say it, to two figures; out of a hundred where that would be far off."""
    parts = round(float(f"{1.0 / rate:.2g}"))
    is_near = rate <= 0.5 and abs(parts * rate - 1.0) < 0.1
    return f"1 in {parts}" if is_near else f"{100 * rate:.0f} in 100"
