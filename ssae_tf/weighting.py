"""What residuals are worth, by scale and by place (docs/training.md has what it brings).

At the edges of a part, in its shadows and under its labels good pictures differ more from each
other than elsewhere, and their residual is higher. Divided by what is usual at its place, a
residual raises no alarm there and stands out where normal pictures are quiet. In the same way a
scale at which the surface could not be learnt should not drown one at which it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from scipy.stats import norm

# Cells along each side, whatever the picture's shape.
_CELLS = 64
# Pictures' worth of trust in every place being like the others.
_PRIOR_PICTURES = 5.0
# Of an AUROC, which limited data may show as 0.5 or 1.
_LEAST, _MOST = 0.51, 0.999


def residual_weights(
    maps: Iterable[Sequence[np.ndarray]],
    found: Sequence[float],
    *,
    left_right: bool,
    top_bottom: bool,
    turned: bool,
) -> np.ndarray:
    """Weights for `ssae_tf.scoring.inspect`.

    Each scale is divided by its root mean square at each place in normal pictures, so that all
    have the same noise, and multiplied by its d′ = √2 Φ⁻¹(AUROC), which is how far it can tell a
    corruption from that noise: of all weighted sums of independent scales this one separates best.
    With few pictures a scale is divided by nearly the same everywhere: five more are assumed in
    which no place differs from another.

    Args:
        maps: for each of at least one normal picture, the smoothed residual at each scale, (H, W)
            float32, all of one size; places are shares of height and width.
        found: for each scale, the pixel AUROC of its residual for corruptions.
        left_right, top_bottom: surfaces may come mirrored, so that mirrored places are one.
        turned: surfaces may come turned by 90°.

    Returns:
        (scales, 64, 64) float32, above 0: in such a unit that the map of a normal picture is about
        as high as the mean over scales without weights.
    """
    squares = np.zeros((len(found), _CELLS, _CELLS))
    count = 0
    for scales in maps:
        squares += [_cells(np.square(map_)) for map_ in scales]
        count += 1
    squares /= count
    if left_right or turned:
        squares = (squares + squares[:, :, ::-1]) / 2.0
    if top_bottom or turned:
        squares = (squares + squares[:, ::-1]) / 2.0
    if turned:
        squares = (squares + squares.transpose(0, 2, 1)) / 2.0
    whole = squares.mean(axis=(1, 2), keepdims=True)
    # Nothing is divided by 0 where the network reproduces all there is.
    whole = np.maximum(whole, 1e-12)
    usual = np.sqrt((count * squares + _PRIOR_PICTURES * whole) / (count + _PRIOR_PICTURES))
    worth = np.sqrt(2.0) * norm.ppf(np.clip(found, _LEAST, _MOST))
    unit = np.sqrt(whole).mean() / worth.sum()
    return np.asarray(unit * worth[:, None, None] / usual, np.float32)


def _cells(squares: np.ndarray) -> np.ndarray:
    """Means over cells where they are larger than pixels, interpolated where they are smaller."""
    shrinks = min(squares.shape) >= _CELLS
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(squares, (_CELLS, _CELLS), interpolation=method)
