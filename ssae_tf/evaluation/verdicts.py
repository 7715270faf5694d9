"""The content of verdicts.csv: what a detector says of each test image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from ssae_tf.evaluation.protocol import Verdict
from ssae_tf.scoring.threshold import verdict

COLUMNS = ("path", "kind", "score", "threshold", "is_anomalous", "truth", "defects", "area")
LEVEL_COLUMNS = ("review_threshold", "verdict")


def verdicts_csv(
    verdicts: Iterable[Verdict], threshold: float, review_threshold: float | None = None
) -> str:
    """A header and a line per image, as Python's csv writes them.

    `is_anomalous` and `truth`, whether the image's kind is a defect, are `true` or `false`;
    `defects` is how many were found, and `area` their pixels. With a level of review there are two
    more columns, with the level and `good`, `review` or `reject`.

    Args:
        verdicts: in the order of the lines.
        threshold: the calibrated one.
        review_threshold: the level of review; None for none.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS if review_threshold is None else COLUMNS + LEVEL_COLUMNS)
    for one in verdicts:
        flags = (str(flag).lower() for flag in (one.is_anomalous, one.is_defective))
        row = [one.path, one.kind, one.score, threshold, *flags, one.defects, one.area]
        if review_threshold is not None:
            row += [review_threshold, verdict(one.score, threshold, review_threshold)]
        writer.writerow(row)
    return text.getvalue()
