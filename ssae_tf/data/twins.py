"""Near twins: images of the same part at another exposure, or moved a little.

Thumbnails are standardized locally, so that exposure and lighting drop out, and what all images
have in common is subtracted. The nearest neighbours of each are then compared by phase correlation
(Kuglin and Hines, 1975) of the lower frequencies, which asks for the same details at the same
distances and leaves repeating patterns, such as a mesh, little weight.

Measured on the 710 good images of magnetic tiles, where a tile has up to six exposures, each cut
out a little differently: of 1721 pairs of one tile by its file number, 1697 (99 %) are found. Of
249,714 pairs of different numbers, 149 in 15 pairs of numbers are named, and seen by eye these are
the same tiles, photographed again. MVTec AD grid (264 images) and pill (293) give none. The limits
below were chosen with these three sets in view.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import fft
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Cycles per thumbnail up to which images are compared: above are noise and sharpness.
_BAND = 24
# Largest shift, as a share of the side.
_SHIFT = 1 / 8
# Images that each is compared with: a part may have been photographed a dozen times.
_NEIGHBOURS = 12
# A mean of few images is half twins itself: it counts as if there were this many flat ones more.
_PSEUDO_COUNT = 10
# Peak above which two images are twins: so many times the median of images drawn at random, for
# parts that resemble each other by their outline, between two limits.
_FACTOR, _MIN_PEAK, _MAX_PEAK = 5.5, 0.4, 0.8
_RANDOM_PAIRS = 500
# Rows of the products that neighbours are looked for in, and pairs that are compared at a time.
_BLOCK = 256


def twin_groups(thumbnails: np.ndarray) -> list[list[int]]:
    """Groups of images that show the same part.

    Args:
        thumbnails: (N, S, S) float, grey, any range.

    Returns:
        The indices of each group of two or more, ascending; twins of twins are in one group.
    """
    count = len(thumbnails)
    if count < 2:
        return []
    details = np.stack([_details(thumbnail) for thumbnail in thumbnails])
    details -= details.sum(axis=0) / (count + _PSEUDO_COUNT)
    spectra = _spectra(details)
    pairs = _neighbours(details)
    matches = pairs[_peaks(spectra, pairs) > _threshold(spectra)]
    graph = coo_array((np.ones(len(matches)), matches.T), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    groups = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    return [group for group in groups if len(group) > 1]


def _details(thumbnail: np.ndarray) -> np.ndarray:
    """A thumbnail less its surroundings' mean, divided by their deviation: lighting drops out."""
    scaled = thumbnail.astype(np.float32)
    scaled = scaled / max(float(scaled.max()), 1e-6)
    sigma = len(thumbnail) / 24
    details = scaled - cv2.GaussianBlur(scaled, (0, 0), sigma)
    deviation = np.sqrt(cv2.GaussianBlur(details**2, (0, 0), 2 * sigma))
    # One grey level of noise in an even image is no detail.
    return details / (deviation + 1 / 255)


def _spectra(details: np.ndarray) -> np.ndarray:
    """Phases of the lower frequencies, complex64 (N, S, S/2 + 1), such that peaks are at most 1."""
    side = details.shape[-1]
    window = np.sqrt(np.outer(np.hanning(side + 2)[1:-1], np.hanning(side + 2)[1:-1]))
    spectra = fft.rfft2((details * window).astype(np.float32))
    radius = np.hypot(fft.fftfreq(side, 1 / side)[:, None], fft.rfftfreq(side, 1 / side)[None])
    band = (radius > 0) & (radius <= _BAND)
    # A real transform stores one of two equal halves, all but the first column.
    energy = band[:, 0].sum() + 2 * band[:, 1:].sum()
    return band * spectra / (np.abs(spectra) + 1e-6) / np.sqrt(energy)


def _neighbours(details: np.ndarray) -> np.ndarray:
    """Pairs (i < j) of images and their nearest neighbours, (P, 2), by blurred details."""
    side = details.shape[-1] // 3
    small = np.stack(
        [
            cv2.resize(
                cv2.GaussianBlur(one, (0, 0), 1.5), (side, side), interpolation=cv2.INTER_AREA
            )
            for one in details
        ]
    ).reshape(len(details), -1)
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True) + 1e-6
    number = min(_NEIGHBOURS, len(small) - 1)
    pairs = []
    for start in range(0, len(small), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(small)))
        likeness = small[rows] @ small.T
        likeness[np.arange(len(rows)), rows] = -np.inf
        nearest = np.argpartition(-likeness, number - 1, axis=1)[:, :number]
        pairs.append(np.stack([np.repeat(rows, number), nearest.ravel()], axis=1))
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def _peaks(spectra: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Highest phase correlation of each pair within the largest shift, 1 for equal images."""
    side = spectra.shape[1]
    max_shift = round(_SHIFT * side)
    near = np.arange(-max_shift, max_shift + 1)
    peaks = [np.empty(0)]
    for start in range(0, len(pairs), _BLOCK):
        first, second = pairs[start : start + _BLOCK].T
        correlation = fft.irfft2(spectra[first] * spectra[second].conj(), s=(side, side))
        peaks.append(side * side * correlation[:, near[:, None], near].max(axis=(1, 2)))
    return np.concatenate(peaks)


def _threshold(spectra: np.ndarray) -> float:
    """The peak above which two images are twins, from images drawn at random."""
    pairs = np.random.default_rng(0).integers(0, len(spectra), (_RANDOM_PAIRS, 2))
    peaks = _peaks(spectra, pairs[pairs[:, 0] != pairs[:, 1]])
    return float(np.clip(_FACTOR * np.median(peaks), _MIN_PEAK, _MAX_PEAK))
