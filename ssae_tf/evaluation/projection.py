"""How near F comes to an orthogonal projection onto normal images.

The last revision of the paper (arXiv 2206.11723) views F so: it leaves a normal image as it is,
changes nothing the second time, takes an anomaly away, and moves nothing elsewhere. The anomalies
are synthetic, of the families that training never uses, so no test label is needed.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.ndimage import distance_transform_edt

from ssae_tf.corruption.held_out import held_out

BANDS: tuple[tuple[int, float], ...] = ((0, 4), (4, 16), (16, 64), (64, math.inf))
"""Distances from M, pixels: farther than the first number, up to the second."""

_FIGURES = (
    "residual",
    "idempotence",
    "corrupted_region_error_before",
    "corrupted_region_error_after",
)
# With a checksum of the image: its anomaly is the same whatever the other images are.
_SEED = 2206


def error_sums(network: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Absolute errors of F on one normal image and on its copy with a synthetic anomaly.

    Args:
        network: F, from (H, W, C) float32 in [0, 1] to the same.
        x: X, (H, W, C) float32 in [0, 1].

    Returns:
        (4 + bands, 2) float64, the sum of |·| (mean over channels) and the number of pixels of:
        F(X) − X; F(F(X)) − F(X); X̂ − X inside M; F(X̂) − X inside M; F(X̂) − F(X) by distance
        from M, one row for each of `BANDS`.
    """
    seed = tf.constant([zlib.crc32(x.tobytes()) & 0x7FFFFFFF, _SEED], tf.int32)
    x_hat, mask = (np.asarray(batch[0]) for batch in held_out(tf.constant(x[None]), seed))
    inside = mask[..., 0] > 0
    distance = distance_transform_edt(~inside)
    clean, repaired = network(x), network(x_hat)
    change = _error(repaired, clean)
    errors = [
        _error(clean, x),
        _error(network(clean), clean),
        _error(x_hat, x)[inside],
        _error(repaired, x)[inside],
        *(change[(distance > low) & (distance <= high)] for low, high in BANDS),
    ]
    return np.array([(error.sum(), error.size) for error in errors], np.float64)


def projection_figures(sums: Sequence[np.ndarray]) -> dict[str, Any]:
    """The block `projection` of metrics.json.

    Args:
        sums: of `error_sums`, one for each image.

    Returns:
        Plain Python types, ready for JSON: mean absolute errors in grey levels of [0, 1], each over
        all pixels of all images, None where there are none. `residual` is that of F(X) − X and
        `idempotence` that of F(F(X)) − F(X); `corrupted_region_error_before` and `_after` are those
        of X̂ and of F(X̂) against X inside M; `conservation` lists F(X̂) − F(X) outside M by distance
        from M, `from` to `to` pixels. `n_images` counts the images.
    """
    total = sum(sums, np.zeros((len(_FIGURES) + len(BANDS), 2)))
    means = [float(error / pixels) if pixels else None for error, pixels in total]
    return {
        "n_images": len(sums),
        **dict(zip(_FIGURES, means, strict=False)),
        "conservation": [
            {"from": low, "to": high if math.isfinite(high) else None, "mean": mean}
            for (low, high), mean in zip(BANDS, means[len(_FIGURES) :], strict=True)
        ],
    }


def _error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(H, W) float64, the mean over channels of |a − b|."""
    return np.abs(a.astype(np.float64) - b).mean(axis=-1)
