"""Batches: which images, turned how, at which step."""

from __future__ import annotations

import dataclasses
import itertools

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import DataConfig
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.images import to_unit
from ssae_tf.data.mvtec import Sample
from ssae_tf.data.pipeline import Sampler

SEED = (3, 1, 0)
SWITCHES = ("rotate", "flip_horizontal", "flip_vertical")
STILL = DataConfig(**dict.fromkeys(SWITCHES, False))


def numbered(count, height=8, width=8):
    """Images of one grey level each: level k + 1 of 255."""
    return np.stack([np.full((height, width, 3), k + 1, np.uint8) for k in range(count)])


def places(height, width):
    """An image whose channels tell row and column."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1)


def levels(x):
    """What `numbered` images a batch shows."""
    return [round(float(image.mean()) * 255) - 1 for image in x]


def sampler(images, batch_size=4, data=STILL, seed=SEED):
    return Sampler(np.asarray(images), batch_size, data, seed)


def drawn(data):
    return [(int(step), x.numpy()) for step, x in data]


def batch(one, step):
    ((_, x),) = drawn(one.batches(step, step + 1))
    return x


def expected_batch(images, batch_size, data, seed, step):
    """What a step's batch must be: an independent reference, an image at a time in NumPy."""
    rng = np.random.default_rng([*seed, 1, step])
    batch = []
    for slot in range(batch_size):
        epoch, place = divmod(step * batch_size + slot, len(images))
        order = np.random.default_rng([*seed, 0, epoch]).permutation(len(images))
        image = images[order[place]]
        _, _, turns, left_right, top_bottom = rng.integers((2, 2, 4, 2, 2))
        if data.rotate:
            image = np.rot90(image, turns)
        if data.flip_horizontal and left_right:
            image = image[:, ::-1]
        if data.flip_vertical and top_bottom:
            image = image[::-1]
        batch.append(image if image.dtype == np.float32 else to_unit(image))
    return np.stack(batch)


class TestOrder:
    @pytest.mark.parametrize(("count", "batch_size"), [(5, 2), (4, 4), (3, 8), (1, 3)])
    def test_every_image_once_before_any_comes_again(self, count, batch_size):
        one = sampler(numbered(count), batch_size=batch_size)
        shown = [level for step in range(3 * count) for level in levels(batch(one, step))]
        epochs = [shown[k : k + count] for k in range(0, len(shown), count)]
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
        if count > 3:
            assert len({tuple(epoch) for epoch in epochs}) > 1

    def test_seed_and_step_alone_decide(self, rng):
        images = [rng.random((8, 8, 3), dtype=np.float32) for _ in range(5)]
        data = DataConfig()
        forwards, backwards = (sampler(images, data=data) for _ in range(2))
        expected = [batch(forwards, step) for step in range(6)]
        for step in reversed(range(6)):
            np.testing.assert_array_equal(batch(backwards, step), expected[step])
        for seed in ((3, 1, 1), (3, 2, 0), (4, 1, 0), (3, 1)):
            other = sampler(images, data=data, seed=seed)
            assert not np.array_equal(batch(other, 0), expected[0])
        assert not np.array_equal(expected[0], expected[1])


class TestPixels:
    def test_images_are_scaled_to_unit_range_and_shown_whole(self):
        (x,) = batch(sampler([places(8, 8)], batch_size=1), 5)
        np.testing.assert_array_equal(x, places(8, 8) / np.float32(255))

    @pytest.mark.parametrize("switches", list(itertools.product((False, True), repeat=3)))
    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_batches_match_numpy_to_the_last_bit(self, rng, switches, dtype, channels):
        levels = rng.permutation(5 * 11 * 11 * channels).reshape(5, 11, 11, channels) % 256
        images = levels.astype(dtype) if dtype == np.uint8 else to_unit(levels.astype(np.uint16))
        data = DataConfig(**dict(zip(SWITCHES, switches, strict=True)))
        actual = drawn(Sampler(images, 3, data, SEED).batches(2, 12))
        assert [step for step, _ in actual] == list(range(2, 12))
        for step, x in actual:
            assert x.dtype == np.float32
            np.testing.assert_array_equal(x, expected_batch(images, 3, data, SEED, step))

    @pytest.mark.parametrize("location", ["memory", "disk"])
    def test_images_stay_where_they_are(self, tmp_path, rng, location):
        samples = [Sample(tmp_path / f"{k}.png", "good") for k in range(3)]
        for sample in samples:
            cv2.imwrite(str(sample.path), rng.integers(0, 256, (8, 8, 3), np.uint8))
        images = ImageCache(samples, location=location).resized(8, 8)
        batches = sampler(images).batches(0, 2)
        before = drawn(batches)
        images ^= 255
        for (_, x), (_, y) in zip(before, drawn(batches), strict=True):
            np.testing.assert_allclose(x, 1.0 - y, atol=1e-6)

    def test_images_at_any_address_are_taken(self, rng):
        room = rng.integers(0, 256, 4 * 8 * 8 * 3 + 1, np.uint8)
        images = room[1:].reshape(4, 8, 8, 3)
        for copied in (images, images[::-1]):
            actual = batch(sampler(copied), 1)
            np.testing.assert_array_equal(actual, expected_batch(copied, 4, STILL, SEED, 1))

    def test_samples_may_share_an_image(self):
        images = numbered(2)
        which = [1, 0, 1, 1, 0]
        x = batch(Sampler(images, 5, STILL, SEED, which), 3)
        np.testing.assert_array_equal(x, expected_batch(images[which], 5, STILL, SEED, 3))


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
        actual = batch(sampler([image], batch_size=400, data=data), 0)
        variants = symmetries(image)
        actual = [
            next(k for k, variant in enumerate(variants) if np.array_equal(variant, x))
            for x in actual
        ]
        assert set(actual) == expected
        assert np.bincount(actual).max() < 1.6 * 400 / len(expected)

    def test_one_switch_leaves_the_others_draws_alone(self, rng):
        images = [rng.random((8, 8, 3), dtype=np.float32) for _ in range(3)]
        still = batch(sampler(images), 0)
        turned = batch(sampler(images, data=dataclasses.replace(STILL, rotate=True)), 0)
        for x, y in zip(still, turned, strict=True):
            # The same images, turned.
            assert any(np.array_equal(variant, y) for variant in symmetries(x)[:4])


class TestDataSet:
    def test_steps_shapes_and_types(self):
        data = sampler(numbered(5)).batches(2, 5)
        step, x = data.element_spec
        assert (step.shape, step.dtype) == ((), tf.int64)
        assert (tuple(x.shape), x.dtype) == ((4, 8, 8, 3), tf.float32)
        assert [step for step, _ in drawn(data)] == [2, 3, 4]

    def test_begun_anywhere_it_goes_the_same_way(self, rng):
        images = [rng.random((8, 8, 3), dtype=np.float32) for _ in range(5)]
        whole = drawn(sampler(images, data=DataConfig()).batches(0, 8))
        rest = drawn(sampler(images, data=DataConfig()).batches(5, 8))
        for (step, x), (expected_step, expected) in zip(rest, whole[5:], strict=True):
            assert step == expected_step
            np.testing.assert_array_equal(x, expected)

    def test_no_steps(self):
        assert drawn(sampler(numbered(2)).batches(3, 3)) == []

    def test_no_python_runs_in_it(self):
        """So that its threads wait for no interpreter lock."""
        graph = sampler(numbered(2)).batches(0, 1)._as_serialized_graph().numpy()
        assert b"ParallelMap" in graph
        assert b"PyFunc" not in graph
