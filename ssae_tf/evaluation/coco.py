"""What was found as a COCO file: defects as polygons, for labelling tools and their readers.

https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy.spatial import KDTree

from ssae_tf.files import write_text

if TYPE_CHECKING:
    from ssae_tf.result import Result

_CATEGORY = {"id": 1, "name": "defect", "supercategory": ""}


class CocoFile:
    """Takes results one by one, and keeps no map.

    Args:
        path: of the file to write.
        folder: that images are named relative to; None, or one that is none, leaves their names as
            they are.
    """

    def __init__(self, path: Path, folder: Path | None) -> None:
        self._path = path
        self._folder = folder if folder is not None and folder.is_dir() else None
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, result: Result) -> None:
        """Adds an image and its defects, if any."""
        height, width = result.mask.shape
        name = os.path.relpath(result.path, self._folder) if self._folder else result.path
        image = len(self._images) + 1
        self._images.append({"id": image, "file_name": name, "width": width, "height": height})
        outlines = {_box(outline): outline for outline in polygons(result.mask)}
        for defect in result.defects:
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image,
                    "category_id": _CATEGORY["id"],
                    "segmentation": [outlines[defect.box].ravel().tolist()],
                    "area": defect.area,
                    "bbox": list(defect.box),
                    "iscrowd": 0,
                    "score": defect.peak,
                }
            )

    def fail(self, line: Mapping[str, Any]) -> None:
        """Leaves an image out: one that can't be read has no size."""

    def write(self) -> None:
        """Writes the file."""
        content = {
            "info": {"description": "Defects found by ssae-tf predict"},
            "licenses": [],
            "images": self._images,
            "annotations": self._annotations,
            "categories": [_CATEGORY],
        }
        # Without line breaks: indented, every number of a polygon would have a line of its own.
        write_text(self._path, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")


def polygons(mask: np.ndarray) -> list[np.ndarray]:
    """The outline of each region of a mask, along the edges of its pixels.

    Filled by whatever rule, with a pixel's centre at half of its side, they give the mask. COCO
    knows no holes: their outlines are joined to the outer one by a seam of no width.

    Args:
        mask: (H, W) bool; regions are 8-connected.

    Returns:
        For each region (n, 2) int: x and y of corners of pixels, from 0 to the width and height.
        No two regions have the same box.
    """
    # In a mask of twice the size, the border runs through the first or last half of a pixel: where
    # it turns, rounded up, is the pixel's own corner.
    large = mask.repeat(2, axis=0).repeat(2, axis=1).view(np.uint8)
    borders, tree = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines: dict[int, np.ndarray] = {}
    holes: list[tuple[int, np.ndarray]] = []
    for index, border in enumerate(borders):
        corners = _corners(border)
        parent = int(tree[0, index, 3])
        if parent < 0:
            outlines[index] = corners
        else:
            holes.append((parent, corners))
    for parent, hole in holes:
        outlines[parent] = _joined(outlines[parent], hole)
    return list(outlines.values())


def _corners(border: np.ndarray) -> np.ndarray:
    """Corners of pixels from a border in a mask of twice the size, each once in a row."""
    corners = (border[:, 0] + 1) // 2
    return corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]


def _joined(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """An outline that goes to the nearest corner of a hole, around it and back."""
    distances, nearest = KDTree(outline).query(hole)
    start = int(np.argmin(distances))
    leave = int(nearest[start])
    around = np.roll(hole, -start, axis=0)
    return np.concatenate([outline[: leave + 1], around, around[:1], outline[leave:]])


def _box(outline: np.ndarray) -> tuple[int, int, int, int]:
    """(x, y, width, height), as a defect has it."""
    left, top = outline.min(axis=0).tolist()
    right, bottom = outline.max(axis=0).tolist()
    return left, top, right - left, bottom - top
