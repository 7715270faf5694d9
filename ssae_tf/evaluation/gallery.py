"""Thumbnails of a report: made while images are inspected, kept as JPEG."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ssae_tf.evaluation.protocol import ImageResult, Verdict
from ssae_tf.evaluation.sheets import as_rgb, fit_into, heatmap, overlay

LIMITS = {"false alarms": 40, "misses": 40, "typical": 16, "calibration": 3}
"""How many images of each group are kept: with `_LARGEST`, a page stays below 5 MB."""

_SIDE = 220
# Bytes of one panel: noise, which compresses badly, is stored at a lower quality.
_LARGEST = 8_000
_QUALITIES = (82, 60, 40, 20, 5)


@dataclass(frozen=True)
class Panel:
    """One small image.

    Attributes:
        caption: what it shows.
        uri: its JPEG data; "" where there is none to show.
        width, height: pixels.
    """

    caption: str
    uri: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Thumbnail(Verdict):
    """An inspected image as the report shows it.

    Attributes:
        panels: the image, what it should look like, the map, and the truth where one is known.
    """

    panels: Sequence[Panel]


class Gallery:
    """The images that a report shows; may be filled from several threads.

    Attributes:
        threshold: the calibrated one: the middle of the maps' colours.
        counts: how many images of each group there were, those that are not kept among them.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.counts = dict.fromkeys(LIMITS, 0)
        self._groups: dict[str, list[Thumbnail]] = {name: [] for name in LIMITS}
        self._lock = threading.Lock()

    def add_if_wrong(
        self, result: ImageResult, image: np.ndarray, reconstruction: np.ndarray | None
    ) -> None:
        """Keeps an image whose verdict is not the truth; otherwise as `add`."""
        if result.is_anomalous != result.is_defective:
            group = "misses" if result.is_defective else "false alarms"
            self.add(group, result, image, reconstruction)

    def add(
        self,
        group: str,
        result: ImageResult,
        image: np.ndarray,
        reconstruction: np.ndarray | None,
    ) -> None:
        """Keeps an image, unless its group is full of more telling ones.

        Args:
            group: one of `LIMITS`.
            result: what was said of the image.
            image: X, (H, W, 3) float32 in [0, 1].
            reconstruction: F(X), like `image`; None where it is not known.
        """
        made = thumbnail(result, image, reconstruction, self.threshold)
        with self._lock:
            kept = sorted([*self._groups[group], made], key=_ORDERS[group])
            self._groups[group] = kept[: LIMITS[group]]
            self.counts[group] += 1

    def group(self, name: str) -> Sequence[Thumbnail]:
        """The images of a group, the most telling first.

        False alarms and calibration images come by falling score, misses by rising score, the
        typical ones by kind.
        """
        return self._groups[name]


_ORDERS = {
    "false alarms": lambda one: (-one.score, one.path),
    "misses": lambda one: (one.score, one.path),
    "typical": lambda one: (one.kind, one.path),
    "calibration": lambda one: (-one.score, one.path),
}


def thumbnail(
    result: ImageResult, image: np.ndarray, reconstruction: np.ndarray | None, threshold: float
) -> Thumbnail:
    """Draws an inspected image small; the arguments are those of `Gallery.add` and `draw`."""
    panels = draw(image, reconstruction, result.anomaly_map, result.predicted_mask, threshold)
    if result.is_defective:
        truth = result.true_mask
        panels.append(Panel("no mask") if truth is None else panel("truth", truth))
    return Thumbnail(result.path, result.kind, result.score, result.is_anomalous, panels)


def draw(
    image: np.ndarray,
    reconstruction: np.ndarray | None,
    anomaly_map: np.ndarray,
    mask: np.ndarray,
    threshold: float,
) -> list[Panel]:
    """The image, what it should look like where that is known, and the map with outlines.

    Args:
        image, reconstruction: as in `Gallery.add`.
        anomaly_map: (H, W) real.
        mask: (H, W) bool, what was found.
        threshold: the middle of the map's colours, above 0 or not.
    """
    # Without a positive threshold there is no scale to share, and the map has its own.
    high = 2 * threshold if threshold > 0 else max(float(anomaly_map.max()), 1e-12)
    map_ = heatmap(fit_into(anomaly_map, _SIDE, _SIDE), 0.0, high)
    panels = [panel("image", image)]
    if reconstruction is not None:
        panels.append(panel("as it should look", reconstruction))
    outlined = overlay(map_, fit_into(mask, _SIDE, _SIDE))
    return [*panels, panel("map with outlines", outlined)]


def panel(caption: str, image: np.ndarray) -> Panel:
    """An image, small: as `ssae_tf.evaluation.sheets.as_rgb` takes it."""
    pixels = np.ascontiguousarray(as_rgb(fit_into(image, _SIDE, _SIDE))[..., ::-1])
    for quality in _QUALITIES:
        _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if encoded.size <= _LARGEST:
            break
    data = base64.b64encode(encoded.tobytes()).decode("ascii")
    return Panel(caption, f"data:image/jpeg;base64,{data}", pixels.shape[1], pixels.shape[0])
