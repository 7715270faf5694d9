"""report.html, card.md and verdicts.csv of a run: what they need, gathered from run and images."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssae_tf import config as config_module
from ssae_tf.data.images import image_size
from ssae_tf.data.kinds import GOOD
from ssae_tf.data.mvtec import Category, load_category
from ssae_tf.detector import Detector
from ssae_tf.errors import SsaeError, one_line
from ssae_tf.evaluation.card import write_card
from ssae_tf.evaluation.gallery import LIMITS, Gallery
from ssae_tf.evaluation.protocol import ImageResult
from ssae_tf.evaluation.report import Calibrated, Measured, Report, write_report
from ssae_tf.evaluation.verdicts import verdicts_csv
from ssae_tf.files import read_json, write_text
from ssae_tf.progress import Reporter
from ssae_tf.run_folder import (
    ABLATION_FILE,
    CARD_FILE,
    ENVIRONMENT_FILE,
    REPORT_FILE,
    SPLIT_FILE,
    VERDICTS_FILE,
)

# Inspected again, maybe under another TensorFlow, an image has its score but for rounding.
_SAME_SCORE = 0.01


def gallery_for(detector: Detector) -> Gallery:
    """An empty gallery for what a calibrated detector says of images."""
    assert detector.calibration is not None
    return Gallery(detector.calibration.threshold)


def write_results(
    out: Path,
    detector: Detector,
    found: Category,
    reporter: Reporter,
    *,
    run: Path | None,
    tested: Measured | None = None,
    gallery: Gallery | None = None,
) -> None:
    """Writes all three; one that can't be made is a warning, since the run is good without.

    Args:
        out: the folder to write to.
        detector: calibrated.
        found: its category, or the one it was tested on.
        reporter: where warnings go.
        run: the run folder, whose records are read; None for a detector without one.
        tested: what came of the test images; None without any, and then there are no verdicts.
        gallery: the test images to show; those of calibration are added.
    """
    assert detector.calibration is not None
    if tested is not None:
        with _warned_of(out / VERDICTS_FILE, reporter):
            text = verdicts_csv(tested.verdicts, detector.calibration.threshold)
            write_text(out / VERDICTS_FILE, text)
    with _warned_of(out / REPORT_FILE, reporter):
        gallery = gallery or gallery_for(detector)
        records = {} if run is None else _json(run / ENVIRONMENT_FILE)
        report = Report(
            name=found.name,
            threshold=detector.calibration.threshold,
            min_area=detector.calibration.min_area,
            calibrated=_calibrated(detector, run, records, gallery),
            gallery=gallery,
            tested=tested,
            image_size=_image_size(found),
            inspection_size=detector.inspection_size,
            settings=config_module.to_dict(detector.config),
            environment=records,
            ablation=_json(out / ABLATION_FILE).get("ablation", {}),
        )
        write_report(out / REPORT_FILE, report)
        with _warned_of(out / CARD_FILE, reporter):
            write_card(out / CARD_FILE, report, _counts(run, report.calibrated))


@contextlib.contextmanager
def _warned_of(path: Path, reporter: Reporter) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        text = str(error) if isinstance(error, SsaeError) else f"{path}: {one_line(error)}"
        reporter.warn(f"Without {path.name}: {text}")


def _counts(run: Path | None, calibrated: Calibrated) -> dict[str, int]:
    """Good images by what they are for; `calibrate` may have taken others since."""
    split = {} if run is None else _json(run / SPLIT_FILE)
    if not split:
        return {}
    return {
        **{part: len(split[part]) for part in ("train", "select")},
        "calibrate": len(calibrated.scores),
    }


def _image_size(found: Category) -> tuple[int, int] | None:
    """(height, width) of the first image; None where it can't be read."""
    with contextlib.suppress(SsaeError):
        return image_size((*found.train, *found.test)[0].path)
    return None


def _json(path: Path) -> dict[str, Any]:
    """The content of a file, empty where there is none."""
    return read_json(path) if path.is_file() else {}


def _calibrated(
    detector: Detector, run: Path | None, records: dict[str, Any], gallery: Gallery
) -> Calibrated:
    """Where the threshold comes from; the images with the highest scores go to the gallery."""
    assert detector.calibration is not None
    scores = detector.calibration.scores
    promised = detector.calibration.false_alarms
    rank = promised.rank if promised else 1
    split = {} if run is None else _json(run / SPLIT_FILE)
    names = split.get("calibrate", [])
    # `calibrate` may have taken other images since, or left some out.
    if len(names) != len(scores):
        return Calibrated(scores, None, rank)
    highest = sorted(zip(scores, names, strict=True), reverse=True)[: LIMITS["calibration"]]
    with contextlib.suppress(SsaeError):
        root = load_category(records["data"], detector.config.category).root
        for score, name in highest:
            if not _add(gallery, detector, root / name, name, score):
                return Calibrated(scores, None, rank)
    return Calibrated(scores, len(set(names) & set(split.get("train", []))), rank)


def _add(gallery: Gallery, detector: Detector, path: Path, name: str, score: float) -> bool:
    """Adds a calibration image; False where its score is not the recorded one."""
    inspected = detector.predict(path)
    if not math.isclose(inspected.score, score, rel_tol=_SAME_SCORE, abs_tol=1e-6):
        return False
    result = ImageResult(
        name,
        GOOD,
        inspected.score,
        inspected.is_anomalous,
        inspected.anomaly_map,
        inspected.mask,
        None,
    )
    gallery.add("calibration", result, inspected.image, inspected.reconstruction)
    return True
