"""The area rule in a graph: the answer of `ssae_tf.scoring.threshold`, whatever the components."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.export.verdict import reaches_area

_SPEC = [tf.TensorSpec((None, None, None), tf.bool), tf.TensorSpec((), tf.int32)]
FUNCTIONS = {
    "eager": reaches_area,
    "graph": tf.function(reaches_area, input_signature=_SPEC, autograph=False),
    "compiled": tf.function(reaches_area, jit_compile=True, autograph=False),
}


def _largest(mask: np.ndarray) -> int:
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return int(ndimage.sum_labels(mask, labels, range(1, count + 1)).max()) if count else 0


def _snake(side: int) -> np.ndarray:
    """A path one pixel wide through the whole image: no component is longer."""
    mask = np.zeros((side, side), bool)
    mask[::2] = True
    for row in range(1, side, 2):
        mask[row, -1 if row % 4 == 1 else 0] = True
    return mask


@pytest.mark.parametrize("mode", FUNCTIONS)
def test_random_masks(mode: str, rng: np.random.Generator) -> None:
    masks = np.stack([rng.random((13, 21)) < share for share in (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)])
    expected = [_largest(mask) for mask in masks]
    for min_area in (1, 2, 5, 20, 100, 273):
        found = FUNCTIONS[mode](tf.constant(masks), tf.constant(min_area))
        assert found.numpy().tolist() == [area >= min_area for area in expected], min_area


@pytest.mark.parametrize("flip", [False, True])
def test_the_longest_way_is_gone_to_its_end(flip: bool) -> None:
    mask = _snake(15)[::-1] if flip else _snake(15)
    area = int(mask.sum())
    assert _largest(mask) == area
    for min_area, expected in ((area - 1, True), (area, True), (area + 1, False)):
        found = FUNCTIONS["graph"](tf.constant(mask[None]), tf.constant(min_area))
        assert found.numpy().tolist() == [expected]


def test_diagonal_neighbours_belong_together() -> None:
    mask = np.eye(6, dtype=bool)[None]
    assert FUNCTIONS["graph"](tf.constant(mask), tf.constant(6)).numpy().tolist() == [True]
    # Two components of three pixels; the gap is one pixel wide.
    mask[0, 3, 3] = False
    assert FUNCTIONS["graph"](tf.constant(mask), tf.constant(4)).numpy().tolist() == [False]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_small_images(shape: tuple[int, int]) -> None:
    area = shape[0] * shape[1]
    masks = tf.constant(np.stack([np.zeros(shape, bool), np.ones(shape, bool)]))
    assert FUNCTIONS["graph"](masks, tf.constant(area)).numpy().tolist() == [False, True]


def test_pixels_of_one_image_do_not_count_in_another() -> None:
    masks = np.zeros((3, 4, 4), bool)
    masks[:, :2, 0] = True
    assert not FUNCTIONS["graph"](tf.constant(masks), tf.constant(3)).numpy().any()
    assert FUNCTIONS["graph"](tf.constant(masks), tf.constant(2)).numpy().all()
