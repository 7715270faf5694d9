"""report.html: one page that says what a detector is worth and what it is not.

It holds nothing from elsewhere and runs no script: tables, charts as inline SVG, thumbnails as
inline JPEG.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_curve

from ssae_tf.errors import count_of
from ssae_tf.evaluation.charts import histogram, polyline
from ssae_tf.evaluation.gallery import Gallery, Panel, Thumbnail
from ssae_tf.evaluation.levels import levels_line
from ssae_tf.evaluation.metrics import AUPRO_FPR_LIMIT
from ssae_tf.evaluation.page import figure, flat, render
from ssae_tf.evaluation.protocol import GOOD, Verdict
from ssae_tf.evaluation.tables import MISSING
from ssae_tf.scoring.conformal import CONFIDENCE, FalseAlarmRate, no_promise

_CHART = 200
"""Side of a curve's square, in units of its SVG."""

# Fewer good images than this leave 1 in 20 good parts rejected within the bound.
_FEW = 59
_ABLATION = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "balanced_accuracy": "balanced accuracy",
    "f1_pixel": "pixel F1",
}
_KIND_FIGURES = {"image_auroc": "image AUROC", "aupro": "AUPRO", "f1_pixel": "pixel F1"}


@dataclass(frozen=True)
class Calibrated:
    """Where a threshold comes from.

    Attributes:
        scores: of the good images it was set on.
        seen: how many of these images training has seen too; None where the run has no names of
            them, because an earlier version made it.
        promises: sentences on how many good images will be rejected; none where that can't be said.
    """

    scores: Sequence[float]
    seen: int | None
    promises: Sequence[str] = ()


@dataclass(frozen=True)
class Measured:
    """What came of the test images.

    Attributes:
        verdicts: one for each.
        metrics: the content of metrics.json.
        overlap_curve: see `PixelAccumulator.overlap_curve`.
        data: where the images are.
    """

    verdicts: Sequence[Verdict]
    metrics: Mapping[str, Any]
    overlap_curve: np.ndarray | None = None
    data: str = ""


@dataclass(frozen=True)
class Report:
    """What the page holds.

    Attributes:
        name: of the category.
        threshold, min_area: the calibrated ones.
        calibrated: where the threshold comes from.
        gallery: the images to show.
        tested: None where there is no test set.
        image_size: (height, width) of a typical image; None where it is not known.
        inspection_size: (height, width) that images are resized to; None for their own size.
        settings: the content of config.json.
        environment: that of environment.json; empty without a run folder.
        ablation: that of ablation.json, by row; empty where there is none.
        review_threshold: the level of review; None for none.
        ignored: what of each image never counts, in white; None for nothing.
    """

    name: str
    threshold: float
    min_area: int
    calibrated: Calibrated
    gallery: Gallery
    tested: Measured | None = None
    image_size: tuple[int, int] | None = None
    inspection_size: tuple[int, int] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    ablation: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    review_threshold: float | None = None
    ignored: Panel | None = None


def report_html(report: Report) -> str:
    """The content of report.html."""
    content = {
        "name": report.name,
        "threshold": f"{report.threshold:.4g}",
        "review": None if report.review_threshold is None else f"{report.review_threshold:.4g}",
        "verdict": verdict(report.tested.verdicts if report.tested else ()),
        "promise": promise(report.calibrated),
        "tested": _tested(report, report.tested) if report.tested else None,
        "groups": list(_groups(report)) if report.tested else [],
        "calibration": _calibration(report),
        "ablation": _ablation(report),
        "limits": list(limits(report)),
        "records": list(_records(report)),
        "settings": list(flat(report.settings)),
        "ignored": report.ignored,
    }
    return render("report.html.j2", content)


def verdict(verdicts: Sequence[Verdict]) -> str:
    """What was found among the test images, in plain words."""
    if not verdicts:
        return "There were no test images: how well it finds defects was not measured."
    defective = [one.is_anomalous for one in verdicts if one.is_defective]
    good = [one.is_anomalous for one in verdicts if not one.is_defective]
    parts = []
    if defective:
        parts.append(f"found {sum(defective)} of {count_of(len(defective), 'defective one')}")
    if good:
        parts.append(f"rejected {sum(good)} of {count_of(len(good), 'good one')}")
    return f"On {count_of(len(verdicts), 'test image')} it {' and '.join(parts)}."


def promise(calibrated: Calibrated) -> str:
    """How many good parts will be rejected, or why that can't be said."""
    images, seen = len(calibrated.scores), calibrated.seen
    if calibrated.promises:
        return " ".join(calibrated.promises)
    if seen:
        return no_promise(images, seen)
    sentence = FalseAlarmRate(images).sentence()
    return (
        "The run keeps no list of the images that its threshold comes from. If training has seen "
        f"none of them: {sentence[0].lower()}{sentence[1:]}"
    )


def _tested(report: Report, tested: Measured) -> dict[str, Any]:
    """Everything that needs test images, but for the thumbnails."""
    kinds = _by_kind(tested.verdicts)
    scores = {kind: [one.score for one in verdicts] for kind, verdicts in kinds.items()}
    return {
        "data": tested.data,
        "histogram": histogram(scores, report.threshold, report.review_threshold),
        "levels": levels_line(tested.metrics["levels"]) if "levels" in tested.metrics else "",
        "kinds": [_kind(kind, verdicts, tested.metrics) for kind, verdicts in kinds.items()],
        "confusion": _confusion(tested.verdicts),
        "curves": list(_curves(tested)),
    }


def _by_kind(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    """The verdicts of each kind, good images first."""
    kinds = sorted({one.kind for one in verdicts}, key=lambda kind: (kind != GOOD, kind))
    return {kind: [one for one in verdicts if one.kind == kind] for kind in kinds}


def _kind(kind: str, verdicts: Sequence[Verdict], metrics: Mapping[str, Any]) -> dict[str, Any]:
    scores = [one.score for one in verdicts]
    figures = metrics["kinds"].get(kind, {})
    return {
        "name": kind,
        "is_good": kind == GOOD,
        "images": len(verdicts),
        "rejected": sum(one.is_anomalous for one in verdicts),
        "scores": [figure(value) for value in (min(scores), np.median(scores), max(scores))],
        "figures": [figure(figures.get(name), 3) for name in _KIND_FIGURES],
        "headers": list(_KIND_FIGURES.values()),
    }


def _confusion(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The rows of the confusion matrix, each with the share of right verdicts."""
    rows = []
    for label, is_defective in (("defective", True), ("good", False)):
        said = [one.is_anomalous for one in verdicts if one.is_defective == is_defective]
        right = sum(one == is_defective for one in said)
        rows.append(
            {
                "label": label,
                "rejected": sum(said),
                "passed": len(said) - sum(said),
                "right": _share(right, len(said)),
            }
        )
    return rows


def _share(count: int, of: int) -> str:
    """A share with the exact (Clopper-Pearson) interval that the number of images allows."""
    if not of:
        return MISSING
    interval = binomtest(count, of).proportion_ci(CONFIDENCE)
    return f"{100 * count / of:.0f} % ({100 * interval.low:.0f} to {100 * interval.high:.0f} %)"


def _curves(tested: Measured) -> Iterator[dict[str, Any]]:
    labels = [one.is_defective for one in tested.verdicts]
    if any(labels) and not all(labels):
        false, true, _ = roc_curve(labels, [one.score for one in tested.verdicts])
        alarms = 1 - tested.metrics["tnr"], tested.metrics["tpr"]
        yield {
            "title": "Images: ROC",
            "x": "good images rejected",
            "y": "defective images found",
            "widest": 1,
            "points": polyline(zip(false, true, strict=True), _CHART),
            "mark": [_CHART * alarms[0], _CHART * (1 - alarms[1])],
            "area": f"image AUROC {figure(tested.metrics['image_auroc'], 3)}",
        }
    if tested.overlap_curve is not None:
        yield {
            "title": "Regions: per-region overlap",
            "x": "normal pixels marked",
            "y": "share of each defect found",
            "widest": AUPRO_FPR_LIMIT,
            "points": polyline(tested.overlap_curve, _CHART, AUPRO_FPR_LIMIT),
            "mark": None,
            "area": f"AUPRO {figure(tested.metrics['aupro'], 3)}",
        }


def _groups(report: Report) -> Iterator[dict[str, Any]]:
    """The groups of thumbnails of test images, also those that are empty, each image once."""
    before: set[str] = set()
    for key, title, none in (
        ("false alarms", "False alarms", "No good test image was rejected."),
        ("misses", "Misses", "No defective test image was missed."),
        ("typical", "The median image of each kind", "All of them are shown above."),
    ):
        kept = report.gallery.group(key)
        images = [_thumbnail(one, report) for one in kept if one.path not in before]
        before |= {one.path for one in kept}
        yield {
            "title": title,
            "none": none,
            "images": images,
            "left_out": report.gallery.counts[key] - len(kept),
        }


def _thumbnail(one: Thumbnail, report: Report) -> dict[str, Any]:
    is_reviewed = report.review_threshold is not None and one.score > report.review_threshold
    said = "rejected" if one.is_anomalous else "to review" if is_reviewed else "passed"
    return {**vars(one), "score": figure(one.score), "said": said}


def _calibration(report: Report) -> dict[str, Any]:
    scores = sorted(report.calibrated.scores, reverse=True)
    return {
        "images": count_of(len(scores), "good image"),
        "highest": [f"{score:.4g}" for score in scores[:3]],
        "is_above": report.threshold > scores[0],
        "histogram": histogram({"calibration": scores}, report.threshold, report.review_threshold),
        "thumbnails": [_thumbnail(one, report) for one in report.gallery.group("calibration")],
    }


def _ablation(report: Report) -> dict[str, Any] | None:
    if not report.ablation:
        return None
    metrics = report.tested.metrics if report.tested else {}
    own = report.ablation.get("as_shipped", {})
    return {
        "headers": list(_ABLATION.values()),
        "rows": [
            {
                "name": label.replace("_", " "),
                "figures": [figure(row.get(name), 3) for name in _ABLATION],
            }
            for label, row in report.ablation.items()
        ],
        # Another command writes it, maybe before the threshold was set anew or on other images.
        "is_other": any(own.get(name) != metrics.get(name) for name in ("image_auroc", "tpr")),
    }


def limits(report: Report) -> Iterator[str]:
    """What a detector can't do and what its figures don't say, a sentence each."""
    images = len(report.calibrated.scores)
    if images < _FEW:
        yield (
            f"The threshold comes from {count_of(images, 'good image')}: with fewer than {_FEW}, "
            "that 1 in 20 good parts is rejected can't be ruled out."
        )
    yield (
        "What is said of new good parts is of parts and images like those of calibration: several "
        "images of one part count as one, and a changed lamp, lens or material voids it."
    )
    yield _smallest(report)
    yield f"Regions of fewer than {report.min_area} pixels don't count as defects."
    if report.tested:
        yield from _limits_of_test(report.tested.metrics)


def _smallest(report: Report) -> str:
    """What is too small to be seen."""
    if report.inspection_size is None:
        return "What is smaller than about 2 pixels of an image can't be seen."
    height, width = report.inspection_size
    text = f"Images are looked at whole, at {width} × {height} pixels: what is smaller than about "
    text += "2 pixels there"
    if report.image_size is not None:
        shrunk = max(report.image_size[0] / height, report.image_size[1] / width)
        if shrunk > 1:
            text += f" ({2 * shrunk:.0f} pixels of an image of "
            text += f"{report.image_size[1]} × {report.image_size[0]})"
    return f"{text} can't be seen."


def _limits_of_test(metrics: Mapping[str, Any]) -> Iterator[str]:
    defective, without = metrics["n_defective"], metrics["n_without_mask"]
    if defective and defective == without:
        yield "No defective test image has a mask: whether outlines are right was not measured."
    elif without:
        yield (
            f"{count_of(without, 'defective test image')} without a mask: pixel figures leave "
            "them out."
        )
    if not defective:
        yield "There are no defective test images: what it finds was not measured."
    if defective == metrics["n_test"]:
        yield "There are no good test images: false alarms were not measured."


def _records(report: Report) -> Iterator[tuple[str, str]]:
    """What a result depends on, as far as it is recorded."""
    values = dict(report.environment)
    if command := values.pop("command", None):
        yield "command", shlex.join(["ssae-tf", *command[1:]])
    values.pop("schema_version", None)
    for name, value in values.items():
        yield name.replace("_", " "), value if isinstance(value, str) else json.dumps(value)
