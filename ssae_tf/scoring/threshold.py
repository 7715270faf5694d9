"""From anomaly map to verdict: image score, threshold, defects by the area rule (section 4.2).

The paper fixes a minimum area and sets the threshold on normal images so that the largest
connected component of their maps is "slightly below" it. With the image score defined as the
highest level at which a component still reaches that area, this threshold is the largest score of
the normal images, exactly and without a search.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from ssae_tf.errors import InputError

DEFAULT_AREA_SHARE = 0.0002
"""Default minimum area as a share of the image's area: 52 pixels at 512 × 512."""

_CONNECTIVITY = 8


@dataclass(frozen=True)
class Defect:
    """One connected component of an anomaly mask.

    Attributes:
        box: (x, y, width, height) in pixels, x to the right and y down, from the top left corner.
        area: pixels of the component itself, not of its box.
        peak: largest value of the map inside the component, in the map's unit.
        mean: mean value of the map inside the component.
    """

    box: tuple[int, int, int, int]
    area: int
    peak: float
    mean: float

    def to_dict(self) -> dict[str, Any]:
        """The defect as plain Python types for JSON; `box` becomes a list."""
        return {**asdict(self), "box": list(self.box)}


def default_min_area(height: int, width: int, smoothing_sigma: float = 0.0) -> int:
    """Minimum area in pixels for images of a size.

    0.02 % of their area, but no less than the disc in which a single pixel, smoothed by a
    Gaussian, is above half of its peak (radius sigma √(2 ln 2)): smaller regions of a smoothed map
    are tips of larger ones. At least 1 pixel, at most the image.

    Args:
        height, width: of the images, pixels.
        smoothing_sigma: of the map's smoothing, pixels of the image.
    """
    disc = 2.0 * math.log(2.0) * math.pi * smoothing_sigma**2
    return min(max(1, round(DEFAULT_AREA_SHARE * height * width), round(disc)), height * width)


def image_score(anomaly_map: np.ndarray, min_area: int) -> float:
    """Highest level t at which {map ≥ t} still has a component of `min_area` pixels.

    It is the maximum of the map's area opening, and always one of the map's values. The largest
    values are tried in growing numbers (`min_area`, twice as many, …) until a component is large
    enough; bisection over the values in between then works only inside the components that can
    still hold the answer, so that most labellings see a small crop.

    Args:
        anomaly_map: (H, W) real, finite, any range; 8-connected.
        min_area: pixels, 1 … H·W.

    Returns:
        The level, in the map's own unit. With `min_area=1` it is the maximum, with H·W the minimum.

    Raises:
        InputError: the map is not two-dimensional, empty or not finite, or `min_area` is out of
            range.
    """
    region = _checked(anomaly_map, min_area)
    low, high, region = _bracket(region, min_area)
    between = np.unique(region[(region >= low) & (region < high)])
    # Invariant: between[first] is reached by a component, everything from between[last] on is not.
    first, last = 0, between.size
    while last - first > 1:
        middle = (first + last) // 2
        kept = _large_components(region >= between[middle], min_area)
        if kept.any():
            first, region = middle, _crop(region, kept)
        else:
            last = middle
    return float(between[first])


def calibrate(scores: Iterable[float], lowest: float = 0.0, rank: int = 1) -> float:
    """Threshold from normal images: the largest of their image scores (section 4.2).

    Args:
        scores: image scores of images known to be good and not used for training.
        lowest: the threshold is no lower, however clean these images are.
        rank: k, to take the k-th largest instead.

    Raises:
        InputError: there is no score, or one of them is not finite.
    """
    values = [float(score) for score in scores]
    if not values:
        raise InputError("Expected the scores of at least one normal image. Received none.")
    if not np.isfinite(values).all():
        raise InputError(f"Expected finite scores. Received: {values}.")
    return max(sorted(values, reverse=True)[rank - 1], _finite(lowest, "lowest"))


def float32_below(threshold: float) -> np.float32:
    """The largest float32 that is no greater: maps exceed it exactly when they exceed `threshold`.

    Rounding to the nearest would lift 0.1 to 0.10000000149, which maps of float32 can equal.
    """
    # Beyond the largest one, numbers become infinity, and that is the nearest below.
    with np.errstate(over="ignore"):
        nearest = np.float32(threshold)
    return nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf))


def is_anomalous(score: float, threshold: float) -> bool:
    """Whether an image score is strictly greater than the threshold.

    Raises:
        InputError: one of them is not finite: nothing is greater than NaN.
    """
    return _finite(score, "score") > _finite(threshold, "threshold")


def verdict(score: float, threshold: float, review_threshold: float | None) -> str | None:
    """What is to be done with an image: `good`, `review` or `reject`; None without two levels.

    Args:
        score: of the image.
        threshold: above it, the image is rejected.
        review_threshold: no higher; above it, the image is reviewed. None for no such level.

    Raises:
        InputError: one of them is not finite.
    """
    if review_threshold is None:
        return None
    if is_anomalous(score, threshold):
        return "reject"
    return "review" if is_anomalous(score, review_threshold) else "good"


def anomaly_mask(
    anomaly_map: np.ndarray, threshold: float, min_area: int, outline: float | None = None
) -> np.ndarray:
    """Components of {map > threshold} that reach the minimum area, outlined about their peaks.

    The threshold decides what is a defect; how far it extends is a share of its own peak, as the
    full width at half maximum has it. A low threshold then draws no wide masks, and a high one no
    tips alone. The mask has a pixel exactly when `image_score(anomaly_map, min_area) > threshold`,
    whatever the outline.

    Args:
        anomaly_map: (H, W) real, finite.
        threshold: in the map's unit.
        min_area: pixels, 1 … H·W.
        outline: each component is replaced by the pixels that are 8-connected to its peak by values
            from this share of the peak, in (0, 1], to the peak, which is above 0; None leaves
            components as they are.

    Returns:
        (H, W) bool.

    Raises:
        InputError: as `image_score`; or a level that is not finite, or such a share out of range.
    """
    region = _checked(anomaly_map, min_area)
    kept = _large_components(_above(region, _finite(threshold, "threshold")), min_area)
    if outline is None:
        return kept
    if not 0.0 < _finite(outline, "outline") <= 1.0:
        raise InputError(
            "Invalid value for argument `outline`. Expected a share of the peak above 0, up to 1. "
            f"Received: {outline!r}."
        )
    mask = np.zeros_like(kept)
    hills = np.ascontiguousarray(region, np.float32)
    for peak in _peaks(region, kept):
        mask |= _down_to(hills, peak, outline)
    return mask


def defects(anomaly_map: np.ndarray, mask: np.ndarray) -> list[Defect]:
    """The components of a mask as defects, highest peak first.

    Args:
        anomaly_map: (H, W) real, finite.
        mask: (H, W) bool, of `anomaly_mask`.
    """
    if not mask.any():
        return []
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=_CONNECTIVITY
    )
    regions = []
    for label, (x, y, width, height, area) in enumerate(stats[1:].tolist(), start=1):
        box = slice(y, y + height), slice(x, x + width)
        inside = anomaly_map[box][labels[box] == label]
        peak, mean = float(inside.max()), float(inside.mean(dtype=np.float64))
        regions.append(Defect((x, y, width, height), area, peak, mean))
    return sorted(regions, key=lambda defect: (-defect.peak, defect.box))


def _checked(anomaly_map: np.ndarray, min_area: int) -> np.ndarray:
    """The map as a floating-point array, or an InputError that says what is wrong with it."""
    array = np.asarray(anomaly_map)
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"Expected an anomaly map of shape (H, W). Received shape {array.shape}.")
    if array.dtype.kind not in "fiub":
        raise InputError(f"Expected an anomaly map of numbers. Received dtype {array.dtype}.")
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if not np.isfinite(array).all():
        wrong = np.count_nonzero(~np.isfinite(array))
        raise InputError(
            f"Expected a finite anomaly map. Received NaN or infinity in {wrong} pixels."
        )
    if not isinstance(min_area, (int, np.integer)) or not 1 <= min_area <= array.size:
        raise InputError(
            f"Invalid value for argument `min_area`. Expected 1 … {array.size} (the area of the "
            f"map, {array.shape[0]} × {array.shape[1]}). Received: min_area={min_area}."
        )
    return array


def _finite(level: float, name: str) -> float:
    """A number as it is, or an InputError."""
    if isinstance(level, (int, float, np.number)) and np.isfinite(level):
        return level
    raise InputError(
        f"Invalid value for argument `{name}`. Expected a finite number. Received: {level!r}."
    )


def _above(region: np.ndarray, threshold: float) -> np.ndarray:
    """{map > threshold}, compared as float64 like the score: a float32 map would round 0.1 up."""
    return region.astype(np.float64) > threshold


def _large_components(mask: np.ndarray, min_area: int) -> np.ndarray:
    """(H, W) bool: the 8-connected components of a mask that have at least `min_area` pixels."""
    kept = np.zeros_like(mask)
    if np.count_nonzero(mask) >= min_area:
        # Counted by bincount: connectedComponentsWithStats takes up to eight times as long.
        _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=_CONNECTIVITY)
        inside = labels[mask]
        kept[mask] = np.bincount(inside)[inside] >= min_area
    return kept


def _peaks(region: np.ndarray, kept: np.ndarray) -> list[tuple[int, int]]:
    """(y, x) of the highest pixel of each component of a mask; the first of equal ones."""
    _, labels = cv2.connectedComponents(kept.view(np.uint8), connectivity=_CONNECTIVITY)
    inside = np.flatnonzero(kept)
    descending = inside[np.argsort(-region.ravel()[inside], kind="stable")]
    _, first = np.unique(labels.ravel()[descending], return_index=True)
    rows, columns = np.unravel_index(descending[first], region.shape)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _down_to(hills: np.ndarray, peak: tuple[int, int], share: float) -> np.ndarray:
    """(H, W) bool: what is connected to a pixel by values from a share of its own to its own.

    Args:
        hills: (H, W) float32, which OpenCV takes as it is.
        peak: (y, x) of the pixel.
        share: of its value.
    """
    y, x = peak
    height = max((1.0 - share) * float(hills[y, x]), 0.0)
    padded = np.zeros((hills.shape[0] + 2, hills.shape[1] + 2), np.uint8)
    how = _CONNECTIVITY | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    cv2.floodFill(hills, padded, (x, y), 0, height, 0, how)
    return padded[1:-1, 1:-1].astype(np.bool_)


def _bracket(region: np.ndarray, min_area: int) -> tuple[float, float, np.ndarray]:
    """(low, high, crop): the score is in [low, high), and its component inside the crop."""
    high = np.inf
    count = min_area
    descending = np.empty(0, region.dtype)
    while True:
        if count > descending.size:
            # More than asked for: one partition then serves four more rounds.
            descending = _largest(region, 16 * count)
        low = descending[count - 1]
        kept = _large_components(region >= low, min_area)
        if kept.any():
            return low, high, _crop(region, kept)
        high = low
        count = min(2 * count, region.size)


def _largest(region: np.ndarray, count: int) -> np.ndarray:
    """The `count` largest values (all, when there are fewer), in descending order."""
    values = region.ravel()
    if count < values.size:
        values = np.partition(values, values.size - count)[values.size - count :]
    return np.sort(values)[::-1]


def _crop(region: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The bounding box of `kept`, everything outside of it lowered below every level."""
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.where(kept[box], region[box], -np.inf)
