"""The paper's evaluation protocol (section 4.2): results on test images in, `metrics.json` out.

Every figure is taken at a threshold that was set on normal images before; nothing here chooses
one. Pixel figures are accumulated over the whole test set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ssae_tf.evaluation.metrics import PixelAccumulator, auroc, balanced_accuracy, f1, tpr_tnr

if TYPE_CHECKING:
    from ssae_tf.result import Result

SCHEMA_VERSION = 1
GOOD = "good"
"""The kind of the test images without a defect, as MVTec AD names their folder."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the detector says of one test image.

    Attributes:
        path: the image's file, as it is to be shown.
        kind: "good" or the defect kind (the test folder's name).
        score: image score, in the map's unit.
        is_anomalous: the verdict at the calibrated threshold.
        defects: how many were found.
        area: of all of them, pixels.
    """

    path: str
    kind: str
    score: float
    is_anomalous: bool
    defects: int = field(default=0, kw_only=True)
    area: int = field(default=0, kw_only=True)

    @property
    def is_defective(self) -> bool:
        """The image's label: whether its kind is a defect."""
        return self.kind != GOOD


@dataclass(frozen=True, eq=False)
class ImageResult(Verdict):
    """The same with its map, and what is true of the image.

    Attributes:
        anomaly_map: (H, W) float32, in pixels of the image.
        predicted_mask: (H, W) bool.
        true_mask: (H, W) bool, or None for a defect image without ground truth. A good image
            may have None too: none of its pixels is defective.
        counted: (H, W) bool, the pixels that pixel figures look at; None for all.
    """

    anomaly_map: np.ndarray
    predicted_mask: np.ndarray
    true_mask: np.ndarray | None
    counted: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        inspected: Result,
        path: str,
        kind: str,
        true_mask: np.ndarray | None = None,
        counted: np.ndarray | None = None,
    ) -> ImageResult:
        """What a detector has found in an image, beside what is true of it."""
        return cls(
            path=path,
            kind=kind,
            score=inspected.score,
            is_anomalous=inspected.is_anomalous,
            anomaly_map=inspected.anomaly_map,
            predicted_mask=inspected.mask,
            true_mask=true_mask,
            counted=counted,
            defects=len(inspected.defects),
            area=sum(defect.area for defect in inspected.defects),
        )


_VERDICT = fields(Verdict)


class Evaluation:
    """Takes the results of a test set one by one, and keeps no map.

    Attributes:
        verdicts: of the images, in the order they came.
        ignored: paths of the images whose defects lie where nothing counts, all of them.
        overlap_curve: of all of them, once `metrics` was called; see `PixelAccumulator`.
    """

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []
        self.ignored: list[str] = []
        self.overlap_curve: np.ndarray | None = None
        self._pixels: dict[str, PixelAccumulator] = {GOOD: PixelAccumulator()}
        self._without_mask: Counter[str] = Counter()

    def add(self, result: ImageResult) -> None:
        """Adds an image.

        Raises:
            InputError: the map and its masks differ in shape.
        """
        mask = result.true_mask
        if mask is None and not result.is_defective:
            mask = np.zeros(result.anomaly_map.shape, dtype=bool)
        pixels = self._pixels.get(result.kind) or PixelAccumulator()
        if mask is None:
            self._without_mask[result.kind] += 1
        else:
            pixels.add(result.anomaly_map, mask, result.predicted_mask, result.counted)
            if result.counted is not None and mask.any() and not mask[result.counted].any():
                self.ignored.append(result.path)
        self._pixels[result.kind] = pixels
        # Without maps and masks.
        self.verdicts.append(Verdict(**{one.name: getattr(result, one.name) for one in _VERDICT}))

    def metrics(self, threshold: float, min_area: int) -> dict[str, Any]:
        """The content of `metrics.json`: all images, and each defect kind against the good ones.

        `image_auroc`, `tpr`, `tnr`, `balanced_accuracy` and `f1_image` come from scores and
        verdicts, `pixel_auroc`, `aupro` and `f1_pixel` from maps and masks. A figure is None where
        it is undefined: those that need normal images without good ones, those that need defects
        without defective ones (F1 among them), pixel figures without masks. Defect images without
        a mask are left out of the pixel figures and counted in `n_without_mask`. Pixels that are
        ignored are left out of them too; the kind of an image stays what its folder says.

        Args:
            threshold: the calibrated threshold, in the map's unit.
            min_area: the minimum area in pixels that belongs to it.

        Returns:
            Plain Python types, ready for JSON. `kinds` maps each defect kind, sorted by name, to
            the same figures and counts; `n_test` counts the images measured there, good ones
            included, and `n_defective` the defective ones among them.
        """
        kinds = sorted(self._pixels)
        pixels = self._merged(kinds)
        self.overlap_curve = pixels.overlap_curve()
        return {
            "schema_version": SCHEMA_VERSION,
            **self._figures(kinds, pixels),
            "threshold": float(threshold),
            "min_area": int(min_area),
            "kinds": {
                kind: self._figures([GOOD, kind], self._merged([GOOD, kind]))
                for kind in kinds
                if kind != GOOD
            },
        }

    def _merged(self, kinds: Sequence[str]) -> PixelAccumulator:
        return PixelAccumulator.merge(*(self._pixels[kind] for kind in kinds))

    def _figures(self, kinds: Sequence[str], pixels: PixelAccumulator) -> dict[str, Any]:
        chosen = [verdict for verdict in self.verdicts if verdict.kind in kinds]
        labels = [verdict.is_defective for verdict in chosen]
        verdicts = [verdict.is_anomalous for verdict in chosen]
        tpr, tnr = tpr_tnr(labels, verdicts)
        return {
            "image_auroc": auroc(labels, [verdict.score for verdict in chosen]),
            "pixel_auroc": pixels.auroc(),
            "aupro": pixels.aupro(),
            "tpr": tpr,
            "tnr": tnr,
            "balanced_accuracy": balanced_accuracy(labels, verdicts),
            "f1_image": f1(labels, verdicts),
            "f1_pixel": pixels.f1(),
            "n_test": len(chosen),
            "n_defective": sum(labels),
            "n_without_mask": sum(self._without_mask[kind] for kind in kinds),
        }
