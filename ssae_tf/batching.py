"""Several images through the network together: those of one size, in the order they came."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from ssae_tf.errors import RunError
from ssae_tf.result import Result

# From (B, H, W, 3) float32, and (B, H, W, 1) where something is ignored, to F(X), (B, H, W, 3), and
# maps, (B, H, W).
Inspect = Callable[..., tuple[tf.Tensor, tf.Tensor]]

_GPU_BATCH = 16
# How far sums in another order may move a score: as a share of it, and where it is nearly 0.
_ROUNDING, _LEAST_ROUNDING = 1e-4, 1e-6


def batch_size() -> int:
    """How many images the network should see at a time here.

    On a CPU one, which fills a core: more took as long (docs/performance.md). On a GPU 16, which
    was not measured.
    """
    return _GPU_BATCH if tf.config.list_physical_devices("GPU") else 1


def together(
    inspect: Inspect, images: Sequence[np.ndarray], size: int, counted: Sequence[tf.Tensor] = ()
) -> list[tuple[np.ndarray, np.ndarray]]:
    """F(X) and the map of each image, in order; those of equal sizes go through in batches.

    Args:
        inspect: of a batch.
        images: (H, W, 3) float32 each.
        size: images of a batch at most.
        counted: (1, H, W, 1) for each, 1 where its pixels count; none where all do.

    Raises:
        RunError: a map is not finite.
    """
    answers: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for indices in _of_equal_shapes(images, size):
        x = tf.constant(np.stack([images[index] for index in indices]))
        where = [tf.concat([counted[index] for index in indices], axis=0)] if counted else []
        reconstructions, maps = (part.numpy() for part in inspect(x, *where))
        if not np.isfinite(maps).all():
            raise RunError("The network answers with NaN or infinity: its weights are damaged.")
        answers |= zip(indices, zip(reconstructions, maps, strict=True), strict=True)
    return [answers[index] for index in range(len(images))]


def _of_equal_shapes(images: Sequence[np.ndarray], size: int) -> Iterator[list[int]]:
    """Indices of images of one shape, at most so many at a time."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image.shape, []).append(index)
    for group in groups.values():
        for first in range(0, len(group), size):
            yield group[first : first + size]


def is_at_threshold(result: Result) -> bool:
    """Whether a batch, which rounds otherwise than one image, might have turned the verdict."""
    return math.isclose(result.score, result.threshold, rel_tol=_ROUNDING, abs_tol=_LEAST_ROUNDING)
