"""Residual normalisation by location.

At the edges of a part, in its shadows and under its labels good images differ more from each
other than elsewhere, and their evidence is higher. Divided by the level of normal images at its
location, evidence raises no alarm there and stands out where normal images are quiet.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# Cells along each side, whatever the image's shape.
_CELLS = 64
# Prior pseudo-count: images in which every location is like the others.
_PRIOR_IMAGES = 5.0
# Of a cell that must count for it to have a level of its own.
_MIN_SHARE = 1e-3


def location_weights(
    maps: Sequence[np.ndarray],
    counted: Sequence[np.ndarray | None] = (),
    *,
    left_right: bool,
    top_bottom: bool,
    turned: bool,
) -> np.ndarray:
    """Weights for `anomaly_map.inspect`: one over the root mean square of normal maps.

    With few images every location has nearly the same weight: five more are assumed in which no
    location differs from another.

    Args:
        maps: the smoothed evidence of at least one normal image, (H, W) float32, all of one size,
            0 where they do not count; locations are shares of height and width.
        counted: which pixels of each count, (H, W) bool, None for all; none for all of all.
        left_right, top_bottom: surfaces may come mirrored, so that mirrored locations are one.
        turned: surfaces may come turned by 90°.

    Returns:
        (64, 64) float32, above 0: in such a unit that the map of a normal image is about as high
        as without weights.
    """
    # The second plane: how much of each cell counts.
    planes = np.zeros((2, _CELLS, _CELLS))
    for map_, counts in zip(maps, counted or [None] * len(maps), strict=True):
        planes[0] += _cells(np.square(map_))
        planes[1] += 1.0 if counts is None else _cells(counts.astype(np.float32))
    count = len(maps)
    planes /= count
    if left_right or turned:
        planes = (planes + planes[:, :, ::-1]) / 2.0
    if top_bottom or turned:
        planes = (planes + planes[:, ::-1]) / 2.0
    if turned:
        planes = (planes + planes.transpose(0, 2, 1)) / 2.0
    squares, share = planes
    # Nothing is divided by 0 where the network reproduces all there is.
    whole = max(float(squares.mean() / share.mean()), 1e-12)
    # A cell that is ignored is like the others.
    squares = np.where(share > _MIN_SHARE, squares / np.maximum(share, _MIN_SHARE), whole)
    level = np.sqrt((count * squares + _PRIOR_IMAGES * whole) / (count + _PRIOR_IMAGES))
    return np.asarray(np.sqrt(whole) / level, np.float32)


def _cells(squares: np.ndarray) -> np.ndarray:
    """Means over cells where they are larger than pixels, interpolated where they are smaller."""
    shrinks = min(squares.shape) >= _CELLS
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(squares, (_CELLS, _CELLS), interpolation=method)
