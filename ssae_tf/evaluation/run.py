"""Measuring a detector on the test images of a category: figures, sheets, report (section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.batching import batch_size
from ssae_tf.data.images import read_image
from ssae_tf.data.kinds import GOOD
from ssae_tf.data.mvtec import Category, Sample, read_sample_mask
from ssae_tf.data.per_image import apply_in_batches, of_images, warn_of_skipped
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, one_line
from ssae_tf.evaluation.gallery import Gallery
from ssae_tf.evaluation.levels import level_counts
from ssae_tf.evaluation.projection import error_sums, projection_figures
from ssae_tf.evaluation.protocol import Evaluation, ImageResult, Verdict
from ssae_tf.evaluation.report import Measured
from ssae_tf.evaluation.sheets import SheetRow, pick_rows, write_sheet
from ssae_tf.files import write_json
from ssae_tf.progress import Reporter
from ssae_tf.result import Result
from ssae_tf.run_data import told
from ssae_tf.run_folder import METRICS_FILE, SHEETS_FOLDER
from ssae_tf.run_report import write_results

_PROJECTION_IMAGES = 40


def evaluate_detector(
    detector: Detector,
    category: Category,
    out: Path | None,
    reporter: Reporter,
    run: Path | None,
) -> dict[str, Any]:
    """metrics.json's content for the test images; written to a folder, with sheets, if given."""
    gallery = None if out is None else Gallery(detector.calibrated().threshold)
    metrics, evaluation = measure_test_set(detector, category, reporter, gallery)
    if evaluation.ignored:
        reporter.warn(
            f"Of {len(evaluation.ignored)} defective test images all of the defect is ignored "
            f"({evaluation.ignored[0]} first): passed, they count as missed."
        )
    metrics["projection"] = _projection(detector, category, reporter)
    if out is not None and gallery is not None:
        write_json(out / METRICS_FILE, metrics)
        verdicts = evaluation.verdicts
        _write_sheets(detector, category, verdicts, out / SHEETS_FOLDER, reporter, gallery)
        tested = Measured(verdicts, metrics, evaluation.overlap_curve, str(category.root))
        write_results(out, detector, category, reporter, run=run, tested=tested, gallery=gallery)
    return metrics


def check_test_set(category: Category, reporter: Reporter) -> None:
    """Passes on the warnings of a category that a detector is measured on.

    Raises:
        DataError: it has no test images.
    """
    if not category.test:
        raise DataError(f"{category.root}: has no test images (test/<kind>/*).")
    told(category, reporter)


def measure_test_set(
    detector: Detector, category: Category, reporter: Reporter, gallery: Gallery | None = None
) -> tuple[dict[str, Any], Evaluation]:
    """`Evaluation.metrics` of a calibrated detector for the test images, and the evaluation.

    Images with a wrong verdict are added to a gallery, if there is one.

    Raises:
        DataError: an image can't be used and is not to be left out, or none can.
    """
    calibration = detector.calibrated()
    evaluation = Evaluation()

    def load(sample: Sample) -> tuple[Sample, np.ndarray, np.ndarray | None]:
        image = read_image(sample.path, detector.config.data.white_level)
        return sample, image, read_sample_mask(sample, image.shape[:2])

    def measured(
        loaded: list[tuple[Sample, np.ndarray, np.ndarray | None]],
    ) -> list[ImageResult]:
        samples, images, masks = zip(*loaded, strict=True)
        results = []
        for inspected, sample, mask in zip(
            detector.predict_batch(images), samples, masks, strict=True
        ):
            results.append(_measured(detector, inspected, sample, mask, category.root))
            if gallery is not None:
                gallery.add_if_wrong(results[-1], inspected.image, inspected.reconstruction)
        return results

    with reporter.task("Evaluating", len(category.test)) as task:
        skipped = apply_in_batches(
            load,
            measured,
            category.test,
            batch_size(),
            task,
            detector.config.data.skip_unreadable,
            evaluation.add,
        )
    if not evaluation.verdicts:
        raise DataError(
            f"{category.root}: none of its {len(category.test)} test images can be used."
        )
    warn_of_skipped(skipped, reporter)
    metrics = evaluation.metrics(calibration.threshold, calibration.min_area)
    if calibration.review_threshold is not None:
        levels = calibration.threshold, calibration.review_threshold
        metrics["levels"] = level_counts(evaluation.verdicts, *levels)
    return metrics, evaluation


def _projection(detector: Detector, category: Category, reporter: Reporter) -> dict[str, Any]:
    """`projection_figures` of the normal test images, as they are inspected."""
    good = [sample for sample in category.test if sample.kind == GOOD]
    _, sums, _ = of_images(
        lambda images: [
            error_sums(detector.reconstruct, detector.as_inspected(image)) for image in images
        ],
        _spread(good, _PROJECTION_IMAGES),
        detector.config.data,
        "Repairing synthetic anomalies",
        reporter,
    )
    return projection_figures(sums)


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most so many samples, evenly spread over all."""
    count = min(len(samples), count)
    return [samples[len(samples) * index // count] for index in range(count)]


def _measured(
    detector: Detector, inspected: Result, sample: Sample, true_mask: np.ndarray | None, root: Path
) -> ImageResult:
    path = str(sample.path.relative_to(root))
    counted = detector.counted(*inspected.mask.shape)
    return ImageResult.of(inspected, path, sample.kind, true_mask, counted)


def _write_sheets(
    detector: Detector,
    category: Category,
    verdicts: Sequence[Verdict],
    folder: Path,
    reporter: Reporter,
    gallery: Gallery,
) -> None:
    """One sheet for each kind: the best, median and worst judged images; a warning if it fails.

    The median one of each kind is added to the gallery.
    """
    threshold = detector.calibrated().threshold
    kinds = sorted({verdict.kind for verdict in verdicts})
    picked = {kind: pick_rows([v for v in verdicts if v.kind == kind]) for kind in kinds}
    samples = {str(sample.path.relative_to(category.root)): sample for sample in category.test}
    with reporter.task("Drawing sheets", sum(map(len, picked.values()))) as task:
        for kind, choices in picked.items():
            path = folder / f"{kind}.png"
            # The figures are there already, and no sheet is worth losing what comes after it.
            try:
                rows, median = [], choices[len(choices) // 2]
                for label, verdict in choices:
                    # Images and maps of the whole test set would not fit in memory.
                    sample = samples[verdict.path]
                    again = detector.predict(sample.path)
                    assert again.reconstruction is not None
                    mask = read_sample_mask(sample, again.image.shape[:2])
                    result = _measured(detector, again, sample, mask, category.root)
                    rows.append(SheetRow(label, result, again.image, again.reconstruction))
                    if verdict is median[1]:
                        gallery.add("typical", result, again.image, again.reconstruction)
                    task.advance()
                write_sheet(path, rows, f"{category.name}: {kind}", threshold=threshold)
            except Exception as error:
                reporter.warn(f"{path}: the sheet can't be drawn ({one_line(error)}).")
