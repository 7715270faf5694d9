"""Batches: which images, turned how, at which step."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import DataConfig
from ssae_tf.data.pipeline import Sampler, training_batches

SEED = (3, 1, 0)
STILL = DataConfig(rotate=False, flip_horizontal=False, flip_vertical=False)


def numbered(count, height=8, width=8):
    """Images of one grey level each: level k + 1 of 255."""
    return [np.full((height, width, 3), k + 1, np.uint8) for k in range(count)]


def places(height, width):
    """An image whose channels tell row and column."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1)


def levels(x):
    """What `numbered` images a batch shows."""
    return [round(float(image.mean()) * 255) - 1 for image in x]


def sampler(images, size=8, batch_size=4, data=STILL, seed=SEED):
    return Sampler(images, size, batch_size, data, seed)


def drawn(data):
    return [(int(step), x.numpy()) for step, x in data]


class TestOrder:
    @pytest.mark.parametrize(("count", "batch_size"), [(5, 2), (4, 4), (3, 8), (1, 3)])
    def test_every_image_once_before_any_comes_again(self, count, batch_size):
        one = sampler(numbered(count), batch_size=batch_size)
        shown = [level for step in range(3 * count) for level in levels(one.batch(step))]
        epochs = [shown[k : k + count] for k in range(0, len(shown), count)]
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
        if count > 3:
            assert len({tuple(epoch) for epoch in epochs}) > 1

    def test_seed_and_step_alone_decide(self, rng):
        images = [rng.random((8, 8, 3), dtype=np.float32) for _ in range(5)]
        data = DataConfig()
        forwards, backwards = (sampler(images, data=data) for _ in range(2))
        expected = [forwards.batch(step) for step in range(6)]
        for step in reversed(range(6)):
            np.testing.assert_array_equal(backwards.batch(step), expected[step])
        for seed in ((3, 1, 1), (3, 2, 0), (4, 1, 0), (3, 1)):
            other = sampler(images, data=data, seed=seed)
            assert not np.array_equal(other.batch(0), expected[0])
        assert not np.array_equal(expected[0], expected[1])


class TestPixels:
    def test_images_are_scaled_to_unit_range_and_shown_whole(self):
        (x,) = sampler([places(8, 8)], batch_size=1).batch(5)
        np.testing.assert_array_equal(x, places(8, 8) / np.float32(255))

    def test_mixed_depths(self, rng):
        images = [
            rng.integers(0, 256, (8, 8, 3), np.uint8),
            rng.random((8, 8, 3), dtype=np.float32),
            np.full((8, 8, 3), 255, np.uint8),
        ]
        x = sampler(images, batch_size=6, data=DataConfig()).batch(0)
        assert x.dtype == np.float32
        assert x.shape == (6, 8, 8, 3)
        assert x.min() >= 0
        assert x.max() == 1
        assert len(np.unique(x)) > 100


def symmetries(x):
    return [np.rot90(y, turns) for y in (x, x[:, ::-1]) for turns in range(4)]


class TestAugmentation:
    # What each switch alone may do to a square: which of its eight symmetries.
    @pytest.mark.parametrize(
        ("on", "expected"),
        [
            ((), {0}),
            (("rotate",), {0, 1, 2, 3}),
            (("flip_horizontal",), {0, 4}),
            # Top-bottom is left-right turned by 180°.
            (("flip_vertical",), {0, 6}),
            (("flip_horizontal", "flip_vertical"), {0, 2, 4, 6}),
            (("rotate", "flip_horizontal"), set(range(8))),
            (("rotate", "flip_horizontal", "flip_vertical"), set(range(8))),
        ],
    )
    def test_each_switch(self, rng, on, expected):
        image = rng.random((8, 8, 3), dtype=np.float32)
        data = dataclasses.replace(STILL, **dict.fromkeys(on, True))
        batch = sampler([image], batch_size=400, data=data).batch(0)
        variants = symmetries(image)
        found = [
            next(k for k, variant in enumerate(variants) if np.array_equal(variant, x))
            for x in batch
        ]
        assert set(found) == expected
        assert np.bincount(found).max() < 1.6 * 400 / len(expected)

    def test_one_switch_leaves_the_others_draws_alone(self, rng):
        images = [rng.random((8, 8, 3), dtype=np.float32) for _ in range(3)]
        still = sampler(images).batch(0)
        turned = sampler(images, data=dataclasses.replace(STILL, rotate=True)).batch(0)
        for x, y in zip(still, turned, strict=True):
            # The same images, turned.
            assert any(np.array_equal(variant, y) for variant in symmetries(x)[:4])


class TestDataSet:
    def test_steps_shapes_and_types(self):
        data = training_batches(sampler(numbered(5)), 2, 5)
        step, x = data.element_spec
        assert (step.shape, step.dtype) == ((), tf.int64)
        assert (tuple(x.shape), x.dtype) == ((4, 8, 8, 3), tf.float32)
        assert [step for step, _ in drawn(data)] == [2, 3, 4]

    def test_begun_anywhere_it_goes_the_same_way(self, rng):
        images = [rng.random((8, 8, 3), dtype=np.float32) for _ in range(5)]
        whole = drawn(training_batches(sampler(images, data=DataConfig()), 0, 8))
        rest = drawn(training_batches(sampler(images, data=DataConfig()), 5, 8))
        for (step, x), (expected_step, expected) in zip(rest, whole[5:], strict=True):
            assert step == expected_step
            np.testing.assert_array_equal(x, expected)

    def test_it_gives_the_samplers_batches(self):
        one = sampler(numbered(5))
        for step, x in drawn(training_batches(one, 0, 4)):
            np.testing.assert_array_equal(x, one.batch(step))

    def test_no_steps(self):
        assert drawn(training_batches(sampler(numbered(2)), 3, 3)) == []
