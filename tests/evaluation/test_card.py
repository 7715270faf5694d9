"""card.md: what it says is what the records say, the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from ssae_tf.config import preset, to_dict
from ssae_tf.evaluation.card import card
from ssae_tf.evaluation.gallery import Gallery
from ssae_tf.evaluation.protocol import Evaluation, ImageResult
from ssae_tf.evaluation.report import Calibrated, Measured, Report, limits, promise

HASH = "ab" * 32
COUNTS = {"train": 30, "select": 4, "calibrate": 3}


def _tested() -> Measured:
    """A good image, a found defect and a missed one."""
    evaluation = Evaluation()
    for number, (kind, score) in enumerate((("good", 0.1), ("dent", 0.9), ("dent", 0.2))):
        truth = np.zeros((16, 16), bool)
        truth[2:6, 2:6] = kind != "good"
        map_ = np.where(truth, score, 0.05).astype(np.float32)
        result = ImageResult(
            f"{number}.png", kind, score, score > 0.5, map_, map_ > 0.5, truth, defects=0, area=0
        )
        evaluation.add(result)
    return Measured(evaluation.verdicts, evaluation.metrics(0.5, 9), evaluation.overlap_curve)


@pytest.fixture
def report() -> Report:
    return Report(
        name="tile|2",
        threshold=0.5,
        min_area=9,
        calibrated=Calibrated((0.1, 0.4, 0.2), 0),
        gallery=Gallery(0.5),
        tested=_tested(),
        inspection_size=(256, 192),
        settings=to_dict(preset("quick", "tile")),
        environment={"data_hash": HASH, "tensorflow": "2.21.0", "ssae_tf": "0.1.0", "started": "x"},
    )


def _rows(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    pairs = [line.strip("| ").split(" | ", 1) for line in lines]
    return {pair[0]: pair[-1] for pair in pairs}


def test_facts_are_those_of_the_run(report: Report) -> None:
    rows = _rows(card(report, COUNTS))
    assert rows["good images"] == "30 to train, 4 to select, 3 to calibrate"
    assert rows["threshold"] == "0.5, defects of at least 9 pixels"
    assert rows["inspected at"] == "256 × 192 pixels"
    assert rows["data hash"] == HASH
    assert rows["versions"] == "ssae_tf 0.1.0, tensorflow 2.21.0"
    assert rows["settings"].startswith("preset quick, gated network of width ")
    assert rows["settings"].endswith("seed 0")


def test_figures_promise_and_limits_are_those_of_the_report(report: Report) -> None:
    text = card(report, COUNTS)
    assert "it found 1 of 2 defective ones and rejected 0 of 1 good one." in text
    assert report.tested is not None
    rows = _rows(text)
    assert rows["defective images found"] == "0.500"
    assert rows["good images passed"] == "1.000"
    assert rows["AUPRO"] == f"{report.tested.metrics['aupro']:.3f}"
    assert promise(report.calibrated) in text
    found = list(limits(report))
    assert len(found) > 2
    assert [line[2:] for line in text.splitlines() if line.startswith("- ")] == found


def test_names_are_no_markup_of_the_table(report: Report) -> None:
    assert card(report, COUNTS).startswith("# Model card: tile\\|2\n")


def test_without_test_images_and_records(report: Report) -> None:
    bare = Report("tile", 0.5, 9, report.calibrated, report.gallery)
    text = card(bare, {})
    assert "Nothing: there were no test images." in text
    rows = _rows(text)
    assert rows["good images"] == "3 to calibrate"
    assert rows["inspected at"] == "the images' own size"
    assert (rows["settings"], rows["data hash"], rows["versions"]) == ("–", "–", "–")


def test_the_same_records_give_the_same_text(report: Report) -> None:
    other = Report(**{**vars(report), "tested": _tested(), "gallery": Gallery(0.5)})
    assert card(report, COUNTS) == card(other, COUNTS)
    assert "\nx" not in card(report, COUNTS)
