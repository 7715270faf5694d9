"""What two levels make of test images, as counts, in verdicts.csv and in the report."""

from __future__ import annotations

import csv
import io

import pytest

from ssae_tf.evaluation.charts import histogram
from ssae_tf.evaluation.gallery import Gallery
from ssae_tf.evaluation.levels import level_counts, levels_line
from ssae_tf.evaluation.protocol import Verdict
from ssae_tf.evaluation.report import Calibrated, Report, report_html
from ssae_tf.evaluation.verdicts import COLUMNS, verdicts_csv

VERDICTS = [
    Verdict(f"{kind}/{score}.png", kind, score, score > 0.6)
    for kind, scores in {"good": (0.1, 0.2, 0.4, 0.5), "dent": (0.6, 0.7, 0.9)}.items()
    for score in scores
]


def test_images_are_counted_by_what_is_to_be_done_with_them() -> None:
    counts = level_counts(VERDICTS, 0.6, 0.4)
    assert counts == {
        "review_threshold": 0.4,
        "good": {"good": 3, "review": 1, "reject": 0},
        "defective": {"good": 0, "review": 1, "reject": 2},
    }
    assert levels_line(counts) == (
        "Review above 0.4: of 4 good images 1 (25.0 %) to review, 0 (0.0 %) rejected; of 3 "
        "defective images 1 (33.3 %) to review, 2 (66.7 %) rejected."
    )


@pytest.mark.parametrize("kind", ["good", "dent"])
def test_a_test_set_of_one_kind_has_its_half_of_the_line(kind: str) -> None:
    line = levels_line(level_counts([one for one in VERDICTS if one.kind == kind], 0.6, 0.4))
    assert ("good images" in line, "defective images" in line) == (kind == "good", kind == "dent")
    assert ";" not in line


def test_verdicts_csv_has_the_levels_where_they_are_set() -> None:
    rows = list(csv.DictReader(io.StringIO(verdicts_csv(VERDICTS, 0.6, 0.4))))
    assert [row["verdict"] for row in rows] == [*["good"] * 3, *["review"] * 2, *["reject"] * 2]
    assert {row["review_threshold"] for row in rows} == {"0.4"}
    assert [row["is_anomalous"] == "true" for row in rows] == [
        row["verdict"] == "reject" for row in rows
    ]
    assert tuple(csv.DictReader(io.StringIO(verdicts_csv(VERDICTS, 0.6))).fieldnames or ()) == (
        COLUMNS
    )


def test_a_histogram_has_room_for_both_levels() -> None:
    chart = histogram({"good": [0.2, 0.3]}, 0.6, 0.1)
    assert (chart.low, chart.high) == (pytest.approx(0.1), pytest.approx(0.6))
    assert (chart.review, chart.threshold) == (pytest.approx(0.0), pytest.approx(1.0))
    assert histogram({"good": [0.2, 0.3]}, 0.6).review is None


@pytest.mark.parametrize("review", [None, 0.25])
def test_the_report_draws_the_level_where_it_is_set(review: float | None) -> None:
    calibrated = Calibrated((0.1, 0.3), 0, ["A promise."])
    report = Report("tile", 0.3, 9, calibrated, Gallery(0.3), review_threshold=review)
    page = report_html(report)
    assert page.count('class="threshold"') == 1
    assert page.count('class="review"><title>review above 0.25</title>') == int(review is not None)
    assert "None" not in page
