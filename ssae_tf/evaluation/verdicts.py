"""The content of verdicts.csv: what a detector says of each test image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from ssae_tf.evaluation.protocol import Verdict

COLUMNS = ("path", "kind", "score", "threshold", "is_anomalous", "truth", "defects", "area")


def verdicts_csv(verdicts: Iterable[Verdict], threshold: float) -> str:
    """A header and a line per image, as Python's csv writes them.

    `is_anomalous` and `truth`, whether the image's kind is a defect, are `true` or `false`;
    `defects` is how many were found, and `area` their pixels.

    Args:
        verdicts: in the order of the lines.
        threshold: the calibrated one.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in verdicts:
        flags = (str(flag).lower() for flag in (one.is_anomalous, one.is_defective))
        writer.writerow([one.path, one.kind, one.score, threshold, *flags, one.defects, one.area])
    return text.getvalue()
