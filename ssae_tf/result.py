"""The verdict on a map, wherever the map was computed, and images as arrays.

TensorFlow is not imported here, so that a client of a server needs none.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pillow

from ssae_tf.data.images import from_pillow, read_image, to_unit
from ssae_tf.errors import DataError, RunError
from ssae_tf.schemas import check_rule
from ssae_tf.scoring.threshold import Defect, anomaly_mask, defects, image_score, is_anomalous

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
        threshold: the score above which an image is anomalous.
        is_anomalous: the verdict.
        defects: components of the map above the threshold, as far as the outline where the run has
            one, the strongest first.
        image: X, (H, W, 3) float32 in [0, 1].
        reconstruction: F(X), like `image`; None from an artefact that was exported without.
        anomaly_map: (H, W) float32, at least 0; grey levels, or the share of each pixel that is
            repainted.
        mask: (H, W) bool, the pixels of the defects.

    Example:
        >>> from ssae_tf import Detector
        >>> result = Detector.load("runs/tile").predict("new.png", threshold=0.0)
        >>> result.anomaly_map.shape == result.mask.shape == result.image.shape[:2]
        True
        >>> sum(defect.area for defect in result.defects) == int(result.mask.sum())
        True
        >>> list(result.to_dict())
        ['schema_version', 'path', 'score', 'threshold', 'is_anomalous', 'defects']
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

    def to_dict(self) -> dict[str, Any]:
        """A line of `ssae-tf predict`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "path": self.path,
            "score": self.score,
            "threshold": self.threshold,
            "is_anomalous": self.is_anomalous,
            "defects": [defect.to_dict() for defect in self.defects],
        }


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
    if not np.issubdtype(image.dtype, np.floating) or not (
        image.min() >= 0.0 and image.max() <= 1.0
    ):
        raise DataError(
            "Expected uint8, uint16, or float values in [0, 1]. Received: "
            f"{image.dtype} from {image.min()} to {image.max()}."
        )
    return image.astype(np.float32)


def judged(
    path: str,
    image: np.ndarray,
    reconstruction: np.ndarray | None,
    anomaly_map: np.ndarray,
    threshold: float,
    min_area: int,
    outline: float | None = None,
    *,
    source: str = "The detector",
) -> Result:
    """The verdict on a map, wherever the map was computed.

    Every verdict comes from here, and so do the checks of what it is judged by.

    Args:
        path: of the image; "" for an array.
        image: X, (H, W, 3) float32 in [0, 1].
        reconstruction: F(X), like `image`, or None.
        anomaly_map: (H, W) float32, finite.
        threshold: the score above which an image is anomalous.
        min_area: pixels that a defect must have, at least 1.
        outline: the level at which defects end, as in `ssae_tf.scoring.threshold.anomaly_mask`.
        source: of the map, for messages.

    Raises:
        InputError: threshold, min_area or outline is out of range or not finite.
        RunError: the map is of another size than the image, not finite or negative.
    """
    check_rule(threshold, min_area, outline)
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
