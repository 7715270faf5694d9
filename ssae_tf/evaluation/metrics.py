"""Image and pixel metrics of section 4.2: AUROC, AUPRO, TPR and TNR (eq. 4), F1 (eq. 5).

AUROC and AUPRO are one integral. The per-region overlap is a true-positive rate in which each
region, not each pixel, weighs the same, so that both are the area under a weighted true-positive
rate over the false-positive rate. The area is a sum over positive pixels of a closed form of their
rank among the negative ones: one sort, no loop over thresholds or regions, equal scores exact.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ssae_tf.errors import InputError

AUPRO_FPR_LIMIT = 0.3
"""False-positive rate up to which the per-region overlap is integrated."""

# Levels of the curve, enough to draw it.
_CURVE = 61
# Negative pixels that are sorted and packed together: 64 MiB as float32.
_BLOCK = 2**24
# Positive pixels that are ranked together; each takes some 80 bytes meanwhile.
_RANKED = 2**22


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve; equal scores count half.

    Args:
        labels: (N,) bool, true for anomalous.
        scores: (N,) real, without NaN, larger for more anomalous.

    Returns:
        0 … 1, or None when there is only one class.

    Raises:
        InputError: a score is NaN.
    """
    truth, values = _paired(labels, scores)
    positive, negative = values[truth], values[~truth]
    if not positive.size or not negative.size:
        return None
    rates = _false_positive_rates(positive, [_Block(negative)])
    return min(1.0, float(_areas(*rates, 1.0).mean()))


def tpr_tnr(labels: ArrayLike, verdicts: ArrayLike) -> tuple[float | None, float | None]:
    """True-positive and true-negative rate, equation (4).

    Args:
        labels: (N,) bool, true for anomalous.
        verdicts: (N,) bool, true for judged anomalous.

    Returns:
        TP / (TP + FN) and TN / (TN + FP); None in place of 0 / 0.
    """
    truth, judged = _paired(labels, verdicts)
    return (
        float(np.mean(judged[truth] != 0)) if truth.any() else None,
        float(np.mean(judged[~truth] == 0)) if not truth.all() else None,
    )


def balanced_accuracy(labels: ArrayLike, verdicts: ArrayLike) -> float | None:
    """Mean of TPR and TNR (Table 2), or None when one of them is undefined."""
    tpr, tnr = tpr_tnr(labels, verdicts)
    return None if tpr is None or tnr is None else (tpr + tnr) / 2


def f1(labels: ArrayLike, verdicts: ArrayLike) -> float | None:
    """F1, equation (5), of boolean labels and verdicts; None without a positive label."""
    truth, judged = _paired(labels, verdicts)
    return f1_from_counts(*_confusion(truth, judged != 0))


def f1_from_counts(true_positive: int, false_positive: int, false_negative: int) -> float | None:
    """F1 = 2·TP / (2·TP + FP + FN), equation (5).

    Returns:
        0 … 1, or None when TP + FN = 0: with nothing to find, the formula gives 0 for any false
        alarm and 0 / 0 without one, and neither says anything about the detector.
    """
    if true_positive + false_negative == 0:
        return None
    return 2 * true_positive / (2 * true_positive + false_positive + false_negative)


class PixelAccumulator:
    """Pixel metrics over a whole test set, from images of any sizes added one by one.

    Negative pixels are held as sorted blocks, one per accumulator, and `merge` shares them: to
    measure several defect kinds against the same good images, fill one accumulator with the good
    ones and one per kind, and every pixel is sorted once.

    Memory: normal pixels wait for 2²⁴ of them, are then sorted and packed without loss, which takes
    a few times as much for a moment, and a byte or so each from then on (of float32; four of
    float64). Of defective pixels the value and 8 bytes stay, and 16 more once a figure is read.
    """

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._pending: list[np.ndarray] = []
        # Values of defective pixels, and the area of the region of each.
        self._positive: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []
        self._regions = 0
        self._counts = np.zeros(3, np.int64)
        # AUROC and AUPRO, and the curve, once they were asked for.
        self._figures: tuple[float | None, float | None] | None = None
        self._curve: np.ndarray | None = None

    def add(
        self,
        anomaly_map: np.ndarray,
        true_mask: np.ndarray,
        predicted_mask: np.ndarray,
        counted: np.ndarray | None = None,
    ) -> None:
        """Adds one image.

        Args:
            anomaly_map: (H, W) floating point, without NaN.
            true_mask: (H, W) bool, the ground truth; its 8-connected components are the regions.
            predicted_mask: (H, W) bool.
            counted: (H, W) bool, which pixels are looked at: the others are neither defective nor
                normal, and regions end there. None for all.

        Raises:
            InputError: the shapes differ or the map has a NaN.
        """
        anomaly_map, truth = np.asarray(anomaly_map), np.asarray(true_mask, dtype=bool)
        predicted = np.asarray(predicted_mask, dtype=bool)
        if not anomaly_map.ndim == 2 or not anomaly_map.shape == truth.shape == predicted.shape:
            raise InputError(
                "Expected a map and two masks of one shape (H, W). Received shapes "
                f"{anomaly_map.shape}, {truth.shape} and {predicted.shape}."
            )
        if np.isnan(anomaly_map).any():
            raise InputError("Expected an anomaly map without NaN.")
        normal = ~truth
        if counted is not None:
            truth, normal, predicted = truth & counted, normal & counted, predicted & counted
        regions, labels = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)
        inside = labels[truth]
        self._pending.append(anomaly_map[normal])
        if sum(values.size for values in self._pending) >= _BLOCK:
            self._sort()
        self._positive.append(anomaly_map[truth])
        self._sizes.append(np.bincount(inside).astype(np.uint32)[inside])
        self._regions += regions - 1
        self._counts += _confusion(truth, predicted)
        self._figures = self._curve = None

    @classmethod
    def merge(cls, *parts: PixelAccumulator) -> PixelAccumulator:
        """An accumulator over the images of all parts; the parts stay usable."""
        merged = cls()
        for part in parts:
            part._sort()
            merged._blocks += part._blocks
            merged._positive += part._positive
            merged._sizes += part._sizes
            merged._regions += part._regions
            merged._counts += part._counts
        return merged

    def auroc(self) -> float | None:
        """Pixel AUROC (Table 3), or None without defect pixels or without normal pixels."""
        return self._areas()[0]

    def aupro(self) -> float | None:
        """Area under the per-region overlap over the false-positive rate, up to 0.3.

        The overlap at a threshold is the part of a ground-truth region whose map values reach it,
        averaged over all regions of the test set; the rate is over all its normal pixels. Between
        two thresholds the curve is linear, at the limit too.

        Returns:
            The area divided by the limit, 0 … 1, or None without regions or without normal pixels.
        """
        return self._areas()[1]

    def overlap_curve(self) -> np.ndarray | None:
        """The curve under which `aupro` is the area, to draw it.

        Returns:
            (61, 2) float64: false-positive rates from 0 to `AUPRO_FPR_LIMIT` in equal steps, and
            the per-region overlap at each; None where `aupro` is.
        """
        if self._curve is None:
            levels = np.linspace(0, AUPRO_FPR_LIMIT, _CURVE)
            overlap = np.zeros(_CURVE)
            # One ranking, the part that takes time, serves the curve and the areas.
            self._figures = self._ranked(levels, overlap)
            self._curve = np.stack([levels, np.minimum(overlap, 1)], axis=1)
        return None if self.aupro() is None else self._curve

    def f1(self) -> float | None:
        """Pixel F1 of the predicted masks (Table 4), counts summed over the test set."""
        return f1_from_counts(*self._counts.tolist())

    def _areas(self) -> tuple[float | None, float | None]:
        """AUROC and AUPRO; None without positives or without negatives."""
        if self._figures is None:
            self._figures = self._ranked()
        return self._figures

    def _ranked(
        self, levels: np.ndarray | None = None, overlap: np.ndarray | None = None
    ) -> tuple[float | None, float | None]:
        """The areas of `_areas`; the overlap at some false-positive rates is added to an array."""
        self._sort()
        pixels = sum(values.size for values in self._positive)
        if not self._blocks or not pixels:
            return None, None
        area = regions = 0.0
        for positive, sizes in self._parts():
            rates = _false_positive_rates(positive, self._blocks)
            area += float(_areas(*rates, 1.0).sum())
            weights = 1 / sizes / self._regions
            regions += float(np.dot(weights, _areas(*rates, AUPRO_FPR_LIMIT)))
            if levels is not None and overlap is not None:
                overlap += _counted(weights, *rates, levels)
        # Weights that add up to 1 + 2e-16 would give a perfect detector more than 1.
        return min(1.0, area / pixels), min(1.0, regions / AUPRO_FPR_LIMIT)

    def _parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Values of defective pixels and areas of their regions, of some images at a time."""
        first = count = 0
        for last, values in enumerate(self._positive, start=1):
            count += values.size
            if count >= _RANKED or last == len(self._positive):
                yield (
                    np.concatenate(self._positive[first:last]),
                    np.concatenate(self._sizes[first:last]),
                )
                first, count = last, 0

    def _sort(self) -> None:
        """Makes a block of the pending pixels."""
        if any(values.size for values in self._pending):
            values = np.concatenate(self._pending)
            # Freed before packing, which takes a few times as much.
            self._pending = []
            self._blocks.append(_Block(values))


class _Block:
    """Sorted values; many of them packed without loss, as differences of neighbours.

    Attributes:
        size: number of values.
    """

    def __init__(self, values: np.ndarray) -> None:
        """Sorts the values in place."""
        values.sort()
        self.size = values.size
        self._dtype = values.dtype
        self._values, self._packed = values, b""
        if values.size >= _BLOCK:
            # The bytes of one significance behind each other: most are zero.
            integers = values.view(f"u{values.itemsize}")
            # Of unsigned integers, which wrap: negative values come back all the same.
            steps = np.diff(integers, prepend=integers.dtype.type(0))
            steps = steps.view(np.uint8).reshape(-1, values.itemsize)
            self._packed = zlib.compress(steps.T.tobytes(), level=1)
            self._values = np.empty(0)

    @property
    def values(self) -> np.ndarray:
        """(size,), ascending."""
        if not self._packed:
            return self._values
        steps = np.frombuffer(zlib.decompress(self._packed), np.uint8)
        steps = np.ascontiguousarray(steps.reshape(self._dtype.itemsize, -1).T)
        integers = steps.view(f"u{self._dtype.itemsize}").ravel()
        return np.cumsum(integers, dtype=integers.dtype).view(self._dtype)


def _false_positive_rates(
    positive: np.ndarray, blocks: Sequence[_Block]
) -> tuple[np.ndarray, np.ndarray]:
    """FPR(> s) and FPR(≥ s) for each of some scores s.

    Args:
        positive: (P,) scores.
        blocks: the scores of the negatives, in any number of parts, not all empty.
    """
    order = np.argsort(positive)  # Queries in order make searchsorted many times faster.
    queries = positive[order]
    below = np.zeros(positive.size, np.int64)
    equal = np.zeros(positive.size, np.int64)
    for block in blocks:
        values = block.values
        before = np.searchsorted(values, queries)
        below += before
        # Few scores are shared, and only their ends have to be looked for.
        (tied,) = np.nonzero(values[np.minimum(before, block.size - 1)] == queries)
        equal[tied] += np.searchsorted(values, queries[tied], side="right") - before[tied]
    total = sum(block.size for block in blocks)
    start, end = np.empty(positive.size), np.empty(positive.size)
    start[order] = (total - below - equal) / total
    end[order] = (total - below) / total
    return start, end


def _areas(start: np.ndarray, end: np.ndarray, limit: float) -> np.ndarray:
    """What each positive adds to the area under the true-positive rate over [0, limit].

    It starts to count at a = FPR(> s), counts in full from b = FPR(≥ s) on, and linearly in between
    (its ties). Its own area up to the limit l is l − (a + b) / 2 when b ≤ l,
    (l − a)² / (2 (b − a)) when a < l < b, and 0 when a ≥ l.

    Args:
        start, end: (P,), a and b of each positive.
        limit: 0 < limit ≤ 1.

    Returns:
        (P,) float64.
    """
    cut = end > limit
    areas = limit - (start + end) / 2
    areas[cut] = np.maximum(limit - start[cut], 0) ** 2 / (2 * (end[cut] - start[cut]).clip(1e-300))
    return areas


def _counted(
    weights: np.ndarray, start: np.ndarray, end: np.ndarray, levels: np.ndarray
) -> np.ndarray:
    """Weight of the positives that count at some false-positive rates; see `_areas`.

    Args:
        weights, start, end: (P,).
        levels: (L,) ascending.

    Returns:
        (L,) float64.
    """
    counted = np.empty(levels.size)
    for index, level in enumerate(levels):
        (tied,) = np.nonzero((start < level) & (level < end))
        shares = (level - start[tied]) / (end[tied] - start[tied])
        counted[index] = weights[end <= level].sum() + np.dot(weights[tied], shares)
    return counted


def _confusion(truth: np.ndarray, judged: np.ndarray) -> tuple[int, int, int]:
    """TP, FP and FN of two boolean arrays."""
    hits = int(np.count_nonzero(truth & judged))
    return hits, int(np.count_nonzero(judged)) - hits, int(np.count_nonzero(truth)) - hits


def _paired(labels: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels as bool and values as float64, none of them NaN."""
    truth, numbers = np.asarray(labels, dtype=bool), np.asarray(values, dtype=np.float64)
    if np.isnan(numbers).any():
        raise InputError("Expected values without NaN.")
    return truth, numbers
