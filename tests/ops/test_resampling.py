"""Resizing in a graph gives what the detector's resizing gives."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.data import cache
from ssae_tf.ops.resampling import resize

_SIZES = [
    # Shrinking, growing, one of each, by whole and by other factors, from and to one pixel.
    ((64, 64), (32, 16)),
    ((37, 91), (64, 16)),
    ((50, 33), (16, 32)),
    ((16, 24), (48, 25)),
    ((1, 1), (16, 16)),
    ((301, 7), (16, 7)),
    # One where OpenCV leaves out pixels that are hardly touched.
    ((4001, 8), (2003, 8)),
    ((40, 40), (40, 40)),
]


@pytest.mark.parametrize(("size", "target"), _SIZES)
def test_same_as_the_detector(
    size: tuple[int, int], target: tuple[int, int], rng: np.random.Generator
) -> None:
    images = rng.random((2, *size, 3), dtype=np.float32)
    graph = tf.function(resize, autograph=False)
    found = graph(tf.constant(images), *(tf.constant(side) for side in target)).numpy()
    assert found.shape == (2, *target, 3)
    for one, image in zip(found, images, strict=True):
        np.testing.assert_allclose(one, cache.resize(image, *target), atol=1e-6)


def test_maps_have_one_channel(rng: np.random.Generator) -> None:
    map_ = rng.random((20, 30), dtype=np.float32)
    found = resize(tf.constant(map_[None, ..., None]), 33, 16)[0, ..., 0]
    np.testing.assert_allclose(found, cache.resize(map_, 33, 16), atol=1e-6)
