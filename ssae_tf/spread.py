"""How far normal maps go at each place of a picture (docs/training.md has what it is worth).

At the edges of a part, in its shadows and under its labels good pictures differ more from each
other than elsewhere, and their residual is higher. A map divided by what is usual at its place
raises no alarm there, and misses less where normal pictures are quiet.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

# Cells along each side, whatever the picture's shape.
_CELLS = 64
# Pictures' worth of trust in a spread that is the same everywhere.
_PRIOR_PICTURES = 5.0


def location_spread(
    maps: Iterable[np.ndarray], *, left_right: bool, top_bottom: bool, turned: bool
) -> np.ndarray:
    """Root mean square of normal maps at each place, relative to the whole.

    With few pictures it stays near 1: five more are assumed in which no place differs from another.

    Args:
        maps: at least one anomaly map of a normal picture, (H, W) float32, of any sizes: places
            are shares of height and width.
        left_right, top_bottom: surfaces may come mirrored, so that mirrored places are one.
        turned: surfaces may come turned by 90°.

    Returns:
        (64, 64) float32 with a root mean square of 1; ones where the maps are 0 everywhere.
    """
    squares = np.zeros((_CELLS, _CELLS))
    count = 0
    for map_ in maps:
        # Averaged where cells are larger than pixels, interpolated where they are smaller.
        shrinks = min(map_.shape) >= _CELLS
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        squares += np.square(cv2.resize(map_, (_CELLS, _CELLS), interpolation=method))
        count += 1
    if left_right or turned:
        squares = (squares + squares[:, ::-1]) / 2.0
    if top_bottom or turned:
        squares = (squares + squares[::-1]) / 2.0
    if turned:
        squares = (squares + squares.T) / 2.0
    total = squares.mean()
    if total == 0.0:
        return np.ones((_CELLS, _CELLS), np.float32)
    # In pictures' worth: `count` of them were added up.
    relative = (count * squares / total + _PRIOR_PICTURES) / (count + _PRIOR_PICTURES)
    return np.sqrt(relative).astype(np.float32)
