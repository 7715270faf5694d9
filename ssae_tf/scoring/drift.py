"""Drift: whether images in service still are like those before, by a conformal martingale.

Each image is given a smoothed p-value, its rank among all scores before it: those of calibration,
then those of service. As long as images are exchangeable these are independent and uniform on
[0, 1], whatever the scores' distribution and however few the calibration images (Vovk, Gammerman
and Shafer, 2005, theorem 8.2). Ranks among calibration images alone would not be: all would share
the same few, and chance in these would pass for drift. A bet against uniformity, the simple jumper
(Vovk et al., Retrain or not retrain, 2021), multiplies its capital by a factor of mean 1, and
grows where p-values gather at either end.

When to speak is decided by the Shiryaev-Roberts statistic, R ← (R + w) · factor, with the time
since the image before for w. R less the time passed is a martingale, so that alarms at R ≥ 1 / a
come at most a times in a unit of time, on average, while nothing changes: for every number of
images a day, and without any approximation.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ssae_tf.errors import ConfigError

DAY = 86400.0
YEAR = 365.25 * DAY
# Slopes of the bets 1 + ε (p − ½), and the share of capital that is spread anew before each image.
_SLOPES, _JUMP = (-1.0, 0.0, 1.0), 0.01


def smoothed_p_value(reference: Sequence[float], score: float, u: float) -> float:
    """The rank of a score among n sorted ones, ties broken by u from [0, 1): small if it is high.

    Returns:
        (number above + u · (number equal + 1)) / (n + 1), uniform if all are exchangeable.
    """
    not_above = bisect.bisect_right(reference, score)
    equal = not_above - bisect.bisect_left(reference, score)
    above = len(reference) - not_above
    return (above + u * (equal + 1)) / (len(reference) + 1)


class ExchangeabilityTest:
    """The sequential test on one stream of numbers.

    Attributes:
        reference: all numbers so far, sorted.
        statistic: R, in units of time.
        evidence: how many times more likely the bets make the numbers since `since`.
        since: time of the first number that the evidence is of; None before any.
        count: of these numbers.
        mean_p_value: of them; ½ is usual.
    """

    def __init__(self, reference: Iterable[float] = (), head_start: float = 0.0) -> None:
        """Begins a test.

        Args:
            reference: numbers to compare the first ones with.
            head_start: R to begin with; as if so much time had passed already.
        """
        self.reference = sorted(reference)
        self.statistic = head_start
        self.evidence = 1.0
        self.since: float | None = None
        self.count = 0
        self._sum = 0.0
        self._capital = [1.0 / len(_SLOPES)] * len(_SLOPES)

    @property
    def mean_p_value(self) -> float:
        """Of the numbers that the evidence is of."""
        return self._sum / self.count if self.count else 0.5

    def add(self, number: float, u: float, weight: float, time: float) -> float:
        """Takes the next number.

        Args:
            number: such as a score.
            u: a uniform draw.
            weight: w, the time since the number before.
            time: when it came.

        Returns:
            Its p-value.
        """
        p_value = smoothed_p_value(self.reference, number, u)
        bisect.insort(self.reference, number)
        factor = self._bet(p_value)
        self.statistic = (self.statistic + weight) * factor
        if self.evidence <= 1.0:
            # What came before speaks for no change: the latest time that one may have begun.
            self.evidence, self.since, self.count, self._sum = 1.0, time, 0, 0.0
        self.evidence *= factor
        self.count += 1
        self._sum += p_value
        return p_value

    def _bet(self, p_value: float) -> float:
        """What the capital is multiplied by."""
        spread = _JUMP / len(_SLOPES)
        won = [
            ((1.0 - _JUMP) * share + spread) * (1.0 + slope * (p_value - 0.5))
            for share, slope in zip(self._capital, _SLOPES, strict=True)
        ]
        factor = sum(won)
        self._capital = [share / factor for share in won]
        return factor


@dataclass(frozen=True)
class Alarm:
    """Drift that was noticed.

    Attributes:
        of: "scores" of the images that were judged good, or "rejections".
        rose: whether they are higher, or more, than before.
        since: when it may have begun, seconds since 1970.
        images: of that stream since then.
        evidence: how many times more likely they are with the change than without.
        mean_p_value: of them; ½ is usual, 0 is higher than all before.
    """

    of: str
    rose: bool
    since: float
    images: int
    evidence: float
    mean_p_value: float


class Drift:
    """Two tests on the results of service: of scores, and of the share rejected.

    Defective parts are no drift, so that the scores tested are those below the threshold, of
    calibration as of service; how many lie above it is a stream of its own, compared with service
    alone. Both begin anew a day after an alarm, so that drift that stays is told again.

    Attributes:
        alarms_per_year: at most, on average, while nothing changes; both tests together.
        alarm: the last one; None before any.
    """

    def __init__(
        self,
        scores: Iterable[float],
        threshold: float,
        *,
        alarms_per_year: float = 0.1,
        seed: int = 0,
    ) -> None:
        """Begins the tests.

        Args:
            scores: of the calibration images; fewer, or none, cost time until drift is noticed.
            threshold: the score above which an image is anomalous.
            alarms_per_year: accepted false alarms, above 0.
            seed: of the draws that break ties.

        Raises:
            ConfigError: no such rate.
        """
        if not 0.0 < alarms_per_year < float("inf"):
            raise ConfigError(
                "Invalid value for the drift alarms a year. Expected a number above 0. Received: "
                f"{alarms_per_year}."
            )
        self.alarms_per_year = alarms_per_year
        self.alarm: Alarm | None = None
        self._threshold = threshold
        # The one at the threshold is not left of it: those below are exchangeable given it.
        self._calibration = [score for score in scores if score < threshold]
        self._random = np.random.default_rng(seed)
        self._time: float | None = None
        self._waited: dict[str, float] = {}
        self._silent_until = float("-inf")
        self._begin()

    @property
    def evidence(self) -> dict[str, float]:
        """R of each test as a share of what raises an alarm: 1 does."""
        return {name: test.statistic / self._limit for name, test in self._tests.items()}

    def add(self, score: float, time: float) -> Alarm | None:
        """Takes the score of the next image and the time of its inspection, seconds since 1970.

        Returns:
            An alarm if it is raised now.
        """
        # A clock that is set, or a factory that was shut, is a day at most.
        passed = 0.0 if self._time is None else min(max(time - self._time, 0.0), DAY)
        self._time = time
        draws = self._random.random(2).tolist()
        if time < self._silent_until:
            return None
        self._waited = {name: waited + passed for name, waited in self._waited.items()}
        if score < self._threshold:
            self._test("scores", score, draws[0], time)
        self._test("rejections", float(score > self._threshold), draws[1], time)
        raised = [name for name, share in self.evidence.items() if share >= 1.0]
        if not raised:
            return None
        self.alarm = self._alarm(raised[0])
        self._silent_until = time + DAY
        self._begin()
        return self.alarm

    @property
    def _limit(self) -> float:
        """What R must reach, in seconds: half of the alarms are for each of the two."""
        return 2.0 * YEAR / self.alarms_per_year

    def _begin(self) -> None:
        # A day ahead: the one that an alarm is silent after, or before the first image.
        self._tests = {
            "scores": ExchangeabilityTest(self._calibration, DAY),
            "rejections": ExchangeabilityTest((), DAY),
        }
        self._waited = dict.fromkeys(self._tests, 0.0)

    def _test(self, name: str, number: float, u: float, time: float) -> None:
        self._tests[name].add(number, u, self._waited[name], time)
        self._waited[name] = 0.0

    def _alarm(self, name: str) -> Alarm:
        test = self._tests[name]
        assert test.since is not None
        mean = test.mean_p_value
        return Alarm(name, mean < 0.5, test.since, test.count, test.evidence, mean)
