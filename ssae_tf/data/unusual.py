"""The most unusual of the good images, by simple statistics of small thumbnails.

An image's distance to the median thumbnail says how far it is from all, its distance to its nearest
neighbours how alone it is there. Each is measured in robust deviations (median, median absolute
deviation) over the images, and the smaller one counts: a part lying the other way round is far from
the median, but not unusual where many do, and then its neighbours are near.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssae_tf.data.images import read_pixels
from ssae_tf.data.survey import Facts

SHOWN = 20
"""Images on the contact sheet."""
# Robust deviations above which an image is an outlier; distances have longer tails than a normal
# distribution.
_OUTLIER = 6.0
# Fewer images say nothing about what is usual.
_FEWEST = 8
# Twins, such as other exposures of a part, should not make it look usual.
_NEIGHBOURS = 5
_BLOCK = 256
_COLUMNS, _CELL, _CAPTION = 5, 200, 22


def unusualness(facts: list[Facts]) -> np.ndarray:
    """How unusual each image is, in robust deviations from what is usual; zeros for fewer than 8.

    Returns:
        (N,) float64; 0 and below is as usual as most.
    """
    if len(facts) < _FEWEST:
        return np.zeros(len(facts))
    swatches = np.stack([fact.swatch.ravel() for fact in facts])
    to_median = np.sqrt(np.mean((swatches - np.median(swatches, axis=0)) ** 2, axis=1))
    return np.minimum(_deviations(_to_neighbours(swatches)), _deviations(to_median))


def outliers(scores: np.ndarray) -> np.ndarray:
    """Indices of the images that stand out, the most unusual first."""
    return np.array(
        [index for index in np.argsort(-scores, kind="stable") if scores[index] > _OUTLIER], int
    )


def contact_sheet(facts: list[Facts], scores: np.ndarray) -> np.ndarray:
    """The twenty most unusual images, row by row, with their names.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    white = {
        bits: max(f.highest for f in facts if f.bits == bits) for bits in {f.bits for f in facts}
    }
    cells = [
        _cell(facts[index], scores[index], white[facts[index].bits])
        for index in np.argsort(-scores, kind="stable")[:SHOWN]
    ]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % _COLUMNS)
    rows = [np.hstack(cells[at : at + _COLUMNS]) for at in range(0, len(cells), _COLUMNS)]
    return np.vstack(rows)


def _to_neighbours(swatches: np.ndarray) -> np.ndarray:
    """Root mean square difference from the fifth nearest other image."""
    squares = np.sum(swatches**2, axis=1)
    distances = []
    for start in range(0, len(swatches), _BLOCK):
        block = slice(start, start + _BLOCK)
        square = squares[block, None] + squares - 2 * swatches[block] @ swatches.T
        # The nearest of all is the image itself.
        nearest = np.partition(square, _NEIGHBOURS, axis=1)[:, _NEIGHBOURS]
        distances.append(np.sqrt(np.maximum(nearest, 0) / swatches.shape[1]))
    return np.concatenate(distances)


def _deviations(distances: np.ndarray) -> np.ndarray:
    centre = np.median(distances)
    # Half a grey level: among equal images, a little noise is not unusual.
    spread = max(1.4826 * float(np.median(np.abs(distances - centre))), 0.5 / 255)
    return (distances - centre) / spread


def _cell(fact: Facts, score: float, white: int) -> np.ndarray:
    """One image of the sheet above its name; what is shown as white is the brightest of all."""
    pixels = read_pixels(fact.sample.path).astype(np.float32)
    scale = (_CELL - 4) / max(fact.size)
    size = tuple(max(1, round(scale * side)) for side in fact.size[::-1])
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    small *= 255 / max(white, 1)
    cell = np.full((_CELL + _CAPTION, _CELL, 3), 255, np.uint8)
    top, left = (_CELL - small.shape[0]) // 2, (_CELL - small.shape[1]) // 2
    cell[top : top + small.shape[0], left : left + small.shape[1]] = small.round()
    # OpenCV's letters are those of ASCII.
    name = fact.sample.path.name.encode("ascii", "replace").decode()
    text = f"{score:.1f}  {name if len(name) < 24 else name[:10] + '...' + name[-11:]}"
    cv2.putText(cell, text, (4, _CELL + 14), cv2.FONT_HERSHEY_PLAIN, 0.8, (0, 0, 0), 1, cv2.LINE_AA)
    return cell
