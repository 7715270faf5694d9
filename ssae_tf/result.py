"""The verdict on a map, wherever the map was computed, and images as arrays.

TensorFlow is not imported here, so that a client of a server needs none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image as pillow

from ssae_tf.data.images import from_pillow, read_image, to_unit
from ssae_tf.errors import DataError, RunError, SsaeError, one_line
from ssae_tf.schemas import check_rule
from ssae_tf.scoring.conformal import p_value
from ssae_tf.scoring.threshold import (
    Defect,
    anomaly_mask,
    defects,
    image_score,
    is_anomalous,
    verdict,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1
# What an image may come as.
Image = str | Path | np.ndarray | pillow.Image
# How far convolutions may round a map below 0.
_ROUNDING = 1e-3


@dataclasses.dataclass(frozen=True)
class Result:
    """What inspection says of one image.

    Attributes:
        path: of the image; "" for an array.
        score: highest level at which the map has a component of min_area pixels.
        threshold: the score above which an image is anomalous: the level of rejection.
        is_anomalous: the verdict.
        defects: components of the map above the threshold, each down to a share of its peak where
            the run has an outline, the strongest first.
        image: X, (H, W, 3) float32 in [0, 1].
        reconstruction: F(X), like `image`; None from an artefact that was exported without.
        anomaly_map: (H, W) float32, at least 0; grey levels, or the share of each pixel that is
            repainted.
        mask: (H, W) bool, the pixels of the defects.
        p_value: how usual the score is among good images (`ssae_tf.scoring.conformal.p_value`);
            None where training has seen some of the calibration images.
        review_threshold: the score above which an image is to be reviewed; None for no such level.

    Example:
        >>> from ssae_tf import Detector
        >>> result = Detector.load("runs/tile").predict("new.png", threshold=0.0)
        >>> result.anomaly_map.shape == result.mask.shape == result.image.shape[:2]
        True
        >>> sum(defect.area for defect in result.defects) == int(result.mask.sum())
        True
        >>> list(result.to_dict())
        ['schema_version', 'path', 'score', 'p_value', 'threshold', 'is_anomalous', 'defects']
    """

    path: str
    score: float
    threshold: float
    is_anomalous: bool
    defects: tuple[Defect, ...]
    image: np.ndarray = dataclasses.field(repr=False)
    reconstruction: np.ndarray | None = dataclasses.field(repr=False)
    anomaly_map: np.ndarray = dataclasses.field(repr=False)
    mask: np.ndarray = dataclasses.field(repr=False)
    p_value: float | None = None
    review_threshold: float | None = None

    @property
    def verdict(self) -> str | None:
        """`good`, `review` or `reject`; None without a level of review."""
        return verdict(self.score, self.threshold, self.review_threshold)

    def to_dict(self) -> dict[str, Any]:
        """A line of `ssae-tf predict`."""
        levels = {"review_threshold": self.review_threshold, "verdict": self.verdict}
        return {
            "schema_version": SCHEMA_VERSION,
            "path": self.path,
            "score": self.score,
            "p_value": self.p_value,
            "threshold": self.threshold,
            "is_anomalous": self.is_anomalous,
            **({} if self.review_threshold is None else levels),
            "defects": [defect.to_dict() for defect in self.defects],
        }

    def plot(self) -> Figure:
        """A matplotlib figure: the image with outlines of the defects, and its anomaly map.

        It needs no display; `figure.savefig("found.png")` keeps it.
        """
        from ssae_tf.evaluation.plot import plot

        return plot(self)


class Inspector(Protocol):
    """A detector or an artefact."""

    def predict(self, image: str | Path) -> Result:
        """Inspects one image."""


def failed(path: str | Path, error: Exception) -> dict[str, Any]:
    """A line of `ssae-tf predict` about an image that was not inspected; the error names it."""
    text = str(error) if isinstance(error, SsaeError) else f"{one_line(error)}."
    if str(path) not in text:
        text = f"{path}: {text}"
    return {"schema_version": SCHEMA_VERSION, "path": str(path), "error": text}


def path_of(image: Image) -> str:
    """The path of an image, "" where it is no file."""
    return str(image) if isinstance(image, (str, Path)) else ""


def as_unit(image: Image, white_level: int) -> np.ndarray:
    """An image as the network takes it.

    Args:
        image: a path, an image of Pillow, or (H, W, 3) or (H, W), uint8, uint16, or float in
            [0, 1], RGB.
        white_level: the uint16 value that becomes 1.0.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        DataError: the file can't be read, or the image is none of the above.
    """
    if isinstance(image, (str, Path)):
        return read_image(image, white_level)
    if isinstance(image, pillow.Image):
        image = from_pillow(image)
    if not isinstance(image, np.ndarray):
        raise DataError(
            "Expected a path, an array or an image of Pillow. Received: "
            f"{type(image).__module__}.{type(image).__qualname__}."
        )
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise DataError(f"Expected an image of shape (H, W, 3) or (H, W). Received: {image.shape}.")
    if image.dtype in (np.uint8, np.uint16):
        return to_unit(image, white_level)
    is_float = np.issubdtype(image.dtype, np.floating)
    if not is_float or not (image.min() >= 0.0 and image.max() <= 1.0):
        # Of what has no order there is no lowest one.
        values = f" from {image.min()} to {image.max()}" if image.dtype.kind in "biuf" else ""
        raise DataError(
            f"Expected uint8, uint16, or float values in [0, 1]. Received: {image.dtype}{values}."
        )
    return image.astype(np.float32)


def post_process(
    path: str,
    image: np.ndarray,
    reconstruction: np.ndarray | None,
    anomaly_map: np.ndarray,
    threshold: float,
    min_area: int,
    outline: float | None = None,
    *,
    review_threshold: float | None = None,
    good_scores: Sequence[float] = (),
    source: str = "The detector",
) -> Result:
    """The verdict on a map, wherever the map was computed.

    Every verdict comes from here, and so do the checks of what it is judged by.

    Args:
        path, image, reconstruction, threshold, review_threshold: as in `Result`.
        anomaly_map: (H, W) float32, finite.
        min_area: pixels that a defect must have, at least 1.
        outline: the share of its peak at which a defect ends, as in
            `ssae_tf.scoring.threshold.anomaly_mask`.
        good_scores: of calibration images that training has not seen; none for no p-value.
        source: of the map, for messages.

    Raises:
        InputError: threshold, min_area or outline is out of range or not finite, or the level of
            review above the threshold.
        RunError: the map is of another size than the image, not finite or negative.
    """
    check_rule(threshold, min_area, outline, review_threshold)
    check_map(anomaly_map, image.shape[:2], source)
    # An image smaller than min_area can still be defective as a whole.
    min_area = min(min_area, anomaly_map.size)
    score = image_score(anomaly_map, min_area)
    mask = anomaly_mask(anomaly_map, threshold, min_area, outline)
    return Result(
        path=path,
        score=score,
        threshold=threshold,
        is_anomalous=is_anomalous(score, threshold),
        defects=tuple(defects(anomaly_map, mask)),
        image=image,
        reconstruction=reconstruction,
        anomaly_map=anomaly_map,
        mask=mask,
        p_value=p_value(score, good_scores) if good_scores else None,
        review_threshold=review_threshold,
    )


def check_map(anomaly_map: np.ndarray, size: tuple[int, int], source: str) -> None:
    """Refuses a map that no verdict can come from.

    Args:
        anomaly_map: what was answered.
        size: (height, width) of the image.
        source: of the map, for messages.

    Raises:
        RunError: it is of another size, not finite or negative.
    """
    if anomaly_map.shape != size:
        raise RunError(
            f"{source}: expected an anomaly map of {size[0]}×{size[1]} pixels, as the image has. "
            f"Received shape {anomaly_map.shape}."
        )
    if not np.isfinite(anomaly_map).all():
        raise RunError(f"{source}: the anomaly map has NaN or infinity.")
    if anomaly_map.min() < -_ROUNDING:
        raise RunError(f"{source}: the anomaly map has negative values.")
