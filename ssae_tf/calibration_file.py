"""calibration.json: the threshold, what it promises, and the images it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssae_tf.schemas import CalibrationFile, FalseAlarms, check_rule, read
from ssae_tf.scoring.conformal import FalseAlarmRate

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Calibration:
    """The threshold and where it comes from (section 4.2).

    Attributes:
        threshold: in units of the anomaly map; an image is anomalous when its score is
            strictly greater.
        min_area: pixels of the input image that a defect must have.
        scores: image scores of the normal images that the threshold comes from: one of the highest,
            or `ScoringConfig.outline` where training has seen some of them and that is higher.
        false_alarms: how many good images it rejects; None where no promise can be made, because
            training has seen some of these images, or of runs made before there was one.
        review_threshold: no higher than the threshold; an image between the two is to be reviewed.
            None for no such level.
        review_false_alarms: how many good images are reviewed or rejected.
        names: of the images, as many as scores, relative to `data`; none of runs made before there
            were names.
        seen: those of the names that training has seen.
        left_out: names of images that are no good ones, for later calibrations too.
        data: folder of the images; None for the run's own.
    """

    threshold: float
    min_area: int
    scores: tuple[float, ...]
    false_alarms: FalseAlarmRate | None = None
    review_threshold: float | None = None
    review_false_alarms: FalseAlarmRate | None = None
    names: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    data: str | None = None

    def __post_init__(self) -> None:
        check_rule(self.threshold, self.min_area, review_threshold=self.review_threshold)

    @property
    def unseen_scores(self) -> tuple[float, ...]:
        """The scores that p-values come from; none where training has seen some of the images."""
        return self.scores if self.false_alarms else ()

    def promises(self) -> list[str]:
        """What the levels promise, a sentence each; none where no promise can be made."""
        sentences = []
        if self.false_alarms is not None:
            sentences.append(self._promise(self.threshold, self.false_alarms, "rejected"))
        if self.review_threshold is not None and self.review_false_alarms is not None:
            what = f"above the level of review, {self.review_threshold:.4g}, or rejected"
            sentences.append(self._promise(self.review_threshold, self.review_false_alarms, what))
        return sentences

    def _promise(self, level: float, promised: FalseAlarmRate, what: str) -> str:
        is_lifted = level > sorted(self.scores, reverse=True)[promised.rank - 1]
        return promised.sentence(what, is_lifted=is_lifted)

    def to_dict(self) -> dict[str, Any]:
        """The content of calibration.json."""
        promised, reviewed = self.false_alarms, self.review_false_alarms
        return {
            "schema_version": SCHEMA_VERSION,
            "min_area": self.min_area,
            "threshold": self.threshold,
            "review_threshold": self.review_threshold,
            "n_calibration": len(self.scores),
            "scores": list(self.scores),
            "names": list(self.names),
            "seen": list(self.seen),
            "left_out": list(self.left_out),
            "data": self.data,
            "false_alarms": promised and promised.to_dict(),
            "review_false_alarms": reviewed and reviewed.to_dict(),
        }

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Reads calibration.json.

        Raises:
            RunError: no such file, or not such content.
        """
        record = read(path, CalibrationFile)
        return cls(
            record.threshold,
            record.min_area,
            tuple(record.scores),
            _rate(record.false_alarms),
            record.review_threshold,
            _rate(record.review_false_alarms),
            tuple(record.names),
            tuple(record.seen),
            tuple(record.left_out),
            record.data,
        )


def _rate(promised: FalseAlarms | None) -> FalseAlarmRate | None:
    return None if promised is None else FalseAlarmRate(promised.images, promised.rank)
