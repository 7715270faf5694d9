"""Residual normalisation by location.

At the edges of a part, in its shadows and under its labels good images differ more from each
other than elsewhere, and their evidence is higher. Divided by the level of normal images at its
location, evidence raises no alarm there and stands out where normal images are quiet.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

# Cells along each side, whatever the image's shape.
_CELLS = 64
# Prior pseudo-count: images in which every location is like the others.
_PRIOR_IMAGES = 5.0


def location_weights(
    maps: Iterable[np.ndarray], *, left_right: bool, top_bottom: bool, turned: bool
) -> np.ndarray:
    """Weights for `anomaly_map.inspect`: one over the root mean square of normal maps.

    With few images every location has nearly the same weight: five more are assumed in which no
    location differs from another.

    Args:
        maps: the smoothed evidence of at least one normal image, (H, W) float32, all of one size;
            locations are shares of height and width.
        left_right, top_bottom: surfaces may come mirrored, so that mirrored locations are one.
        turned: surfaces may come turned by 90°.

    Returns:
        (64, 64) float32, above 0: in such a unit that the map of a normal image is about as high
        as without weights.
    """
    squares = np.zeros((_CELLS, _CELLS))
    count = 0
    for map_ in maps:
        squares += _cells(np.square(map_))
        count += 1
    squares /= count
    if left_right or turned:
        squares = (squares + squares[:, ::-1]) / 2.0
    if top_bottom or turned:
        squares = (squares + squares[::-1]) / 2.0
    if turned:
        squares = (squares + squares.T) / 2.0
    # Nothing is divided by 0 where the network reproduces all there is.
    whole = max(float(squares.mean()), 1e-12)
    level = np.sqrt((count * squares + _PRIOR_IMAGES * whole) / (count + _PRIOR_IMAGES))
    return np.asarray(np.sqrt(whole) / level, np.float32)


def _cells(squares: np.ndarray) -> np.ndarray:
    """Means over cells where they are larger than pixels, interpolated where they are smaller."""
    shrinks = min(squares.shape) >= _CELLS
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(squares, (_CELLS, _CELLS), interpolation=method)
