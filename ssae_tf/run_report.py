"""report.html, card.md and verdicts.csv of a run: what they need, gathered from run and images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssae_tf import config as config_module
from ssae_tf.calibration_file import Calibration
from ssae_tf.data.images import image_size
from ssae_tf.data.kinds import GOOD
from ssae_tf.data.mvtec import Category, load_category
from ssae_tf.detector import Detector
from ssae_tf.errors import SsaeError, one_line
from ssae_tf.evaluation.card import card
from ssae_tf.evaluation.gallery import LIMITS, Gallery, Panel, panel
from ssae_tf.evaluation.protocol import ImageResult
from ssae_tf.evaluation.report import Calibrated, Measured, Report, report_html
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
from ssae_tf.schemas import SplitFile, read


def write_results(
    out: Path,
    detector: Detector,
    category: Category,
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
        category: its category, or the one it was tested on.
        reporter: where warnings go.
        run: the run folder, whose records are read; None for a detector without one.
        tested: what came of the test images; None without any, and then there are no verdicts.
        gallery: the test images to show; those of calibration are added.
    """
    calibration = detector.calibrated()
    threshold, review_threshold = calibration.threshold, calibration.review_threshold
    if tested is not None:
        with _warned_of(out / VERDICTS_FILE, reporter):
            text = verdicts_csv(tested.verdicts, threshold, review_threshold)
            write_text(out / VERDICTS_FILE, text)
    with _warned_of(out / REPORT_FILE, reporter):
        gallery = gallery or Gallery(threshold)
        records = {} if run is None else _json(run / ENVIRONMENT_FILE)
        size = _image_size(category)
        report = Report(
            name=category.name,
            threshold=threshold,
            review_threshold=review_threshold,
            min_area=calibration.min_area,
            calibrated=_calibrated(detector, records, gallery),
            gallery=gallery,
            tested=tested,
            image_size=size,
            inspection_size=detector.inspection_size,
            settings=config_module.to_dict(detector.config),
            environment=records,
            ablation=_json(out / ABLATION_FILE).get("ablation", {}),
            ignored=_ignored(detector, size),
        )
        write_text(out / REPORT_FILE, report_html(report))
        with _warned_of(out / CARD_FILE, reporter):
            write_text(out / CARD_FILE, card(report, _counts(run, report.calibrated)))


@contextlib.contextmanager
def _warned_of(path: Path, reporter: Reporter) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        text = str(error) if isinstance(error, SsaeError) else f"{path}: {one_line(error)}"
        reporter.warn(f"Without {path.name}: {text}")


def _counts(run: Path | None, calibrated: Calibrated) -> dict[str, int]:
    """Good images by what they are for; `calibrate` may have taken others since."""
    if run is None or not (run / SPLIT_FILE).is_file():
        return {}
    split = read(run / SPLIT_FILE, SplitFile)
    return {
        "train": len(split.train),
        "select": len(split.select),
        "calibrate": len(calibrated.scores),
    }


def _image_size(category: Category) -> tuple[int, int] | None:
    """(height, width) of the first image; None where it can't be read."""
    with contextlib.suppress(SsaeError):
        return image_size((*category.train, *category.test)[0].path)
    return None


def _ignored(detector: Detector, size: tuple[int, int] | None) -> Panel | None:
    """What never counts of an image of a size."""
    counted = None if size is None else detector.counted(*size)
    if counted is None:
        return None
    share = 100.0 * (1.0 - counted.mean())
    return panel(f"{share:.1f} % of each image never counts", ~counted)


def _json(path: Path) -> dict[str, Any]:
    """The content of a file, empty where there is none."""
    return read_json(path) if path.is_file() else {}


def _calibrated(detector: Detector, records: dict[str, Any], gallery: Gallery) -> Calibrated:
    """Where the threshold comes from; the images with the highest scores go to the gallery."""
    calibration = detector.calibrated()
    # Runs made before there were names have none: what training has seen is not known then.
    seen = len(calibration.seen) if calibration.names else None
    ranked = sorted(zip(calibration.scores, calibration.names, strict=False), reverse=True)
    root = _root(detector, calibration, records)
    for _, name in ranked[: LIMITS["calibration"]]:
        with contextlib.suppress(SsaeError):
            if root is not None:
                _add(gallery, detector, root / name, name)
    return Calibrated(calibration.scores, seen, calibration.promises())


def _root(detector: Detector, calibration: Calibration, records: dict[str, Any]) -> Path | None:
    """The folder of the calibration images; None where they are not to be found."""
    if calibration.data is not None:
        return Path(calibration.data)
    with contextlib.suppress(SsaeError):
        return load_category(records["data"], detector.config.category).root if records else None
    return None


def _add(gallery: Gallery, detector: Detector, path: Path, name: str) -> None:
    """Adds a calibration image."""
    inspected = detector.predict(path)
    result = ImageResult.of(inspected, name, GOOD)
    gallery.add("calibration", result, inspected.image, inspected.reconstruction)
