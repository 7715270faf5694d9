"""The paper's evaluation protocol (section 4.2): results on test pictures in, `metrics.json` out.

Every figure is taken at a threshold that was set on normal pictures before; nothing here chooses
one. Pixel figures are accumulated over the whole test set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssae_tf.evaluation.metrics import PixelAccumulator, auroc, balanced_accuracy, f1, tpr_tnr

SCHEMA_VERSION = 1
GOOD = "good"
"""The kind of the test pictures without a defect, as MVTec AD names their folder."""


@dataclass(frozen=True, eq=False)
class PictureResult:
    """What the detector says of one test picture, and what is true of it.

    Attributes:
        path: the picture's file, as it is to be shown.
        kind: "good" or the defect kind (the test folder's name).
        score: image score, in the map's unit.
        is_anomalous: the verdict at the calibrated threshold.
        anomaly_map: (H, W) float32, in pixels of the picture.
        predicted_mask: (H, W) bool.
        true_mask: (H, W) bool, or None for a defect picture without ground truth. A good picture
            may have None too: none of its pixels is defective.
    """

    path: str
    kind: str
    score: float
    is_anomalous: bool
    anomaly_map: np.ndarray
    predicted_mask: np.ndarray
    true_mask: np.ndarray | None

    @property
    def is_defective(self) -> bool:
        """The picture's label: whether its kind is a defect."""
        return self.kind != GOOD


def summarize(results: Sequence[PictureResult], threshold: float, min_area: int) -> dict[str, Any]:
    """The content of `metrics.json`: all test pictures, and each defect kind against the good ones.

    `image_auroc`, `tpr`, `tnr`, `balanced_accuracy` and `f1_image` come from scores and verdicts,
    `pixel_auroc`, `aupro` and `f1_pixel` from maps and masks. A figure is None where it is
    undefined: those that need normal pictures without good ones, those that need defects without
    defective ones (F1 among them), pixel figures without masks. Defect pictures without a mask are
    left out of the pixel figures and counted in `n_without_mask`.

    Args:
        results: one per test picture, in any order.
        threshold: the calibrated threshold, in the map's unit.
        min_area: the minimum area in pixels that belongs to it.

    Returns:
        Plain Python types, ready for JSON. `kinds` maps each defect kind, sorted by name, to the
        same figures and counts; `n_test` counts the pictures measured there, good ones included,
        and `n_defective` the defective ones among them.

    Raises:
        ValueError: there is no result, or a map and its masks differ in shape.
    """
    if not results:
        raise ValueError("Expected the results of at least one test picture. Received none.")
    groups: dict[str, list[PictureResult]] = {GOOD: []}
    for result in sorted(results, key=lambda result: result.kind):
        groups.setdefault(result.kind, []).append(result)
    pixels = {kind: _accumulate(group) for kind, group in groups.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        **_figures(results, PixelAccumulator.merge(*pixels.values())),
        "threshold": float(threshold),
        "min_area": int(min_area),
        "kinds": {
            kind: _figures(groups[GOOD] + group, PixelAccumulator.merge(pixels[GOOD], pixels[kind]))
            for kind, group in groups.items()
            if kind != GOOD
        },
    }


def _figures(results: Sequence[PictureResult], pixels: PixelAccumulator) -> dict[str, Any]:
    labels = [result.is_defective for result in results]
    verdicts = [result.is_anomalous for result in results]
    tpr, tnr = tpr_tnr(labels, verdicts)
    return {
        "image_auroc": auroc(labels, [result.score for result in results]),
        "pixel_auroc": pixels.auroc(),
        "aupro": pixels.aupro(),
        "tpr": tpr,
        "tnr": tnr,
        "balanced_accuracy": balanced_accuracy(labels, verdicts),
        "f1_image": f1(labels, verdicts),
        "f1_pixel": pixels.f1(),
        "n_test": len(results),
        "n_defective": sum(labels),
        "n_without_mask": sum(r.is_defective and r.true_mask is None for r in results),
    }


def _accumulate(results: Sequence[PictureResult]) -> PixelAccumulator:
    pixels = PixelAccumulator()
    for result in results:
        mask = result.true_mask
        if mask is None and not result.is_defective:
            mask = np.zeros(result.anomaly_map.shape, dtype=bool)
        if mask is not None:
            pixels.add(result.anomaly_map, mask, result.predicted_mask)
    return pixels
