"""Which images a training sees at which step, and what for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssae_tf.config import Stage
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.mvtec import Sample
from ssae_tf.training.batches import STATISTICS_BATCHES, VALIDATION_BATCHES, Batches

STAGE = Stage(16, 2, 4)


@pytest.fixture
def make(caches, configure):
    return lambda changes=None: Batches(*caches, configure(changes))


def drawn(data):
    return [tuple(part.numpy() for part in batch) for batch in data]


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def assert_shows(batches, images):
    """Each of the images, and no other, whichever way round."""
    found = sorted({round(float(x.mean()), 4) for batch in batches for x in batch})
    assert found == pytest.approx(sorted(p.mean() / 255 for p in images), abs=2e-4)


class TestTraining:
    def test_begun_anywhere(self, make):
        whole = drawn(make().training(0, STAGE, 10, 10, 14))
        assert [int(step) for step, _ in whole] == [10, 11, 12, 13]
        assert all(x.shape == (2, 16, 16, 3) for _, x in whole)
        assert_same(drawn(make().training(0, STAGE, 10, 12, 14)), whole[2:])

    def test_stage_step_and_seed_decide(self, make):
        first, second = (x for _, x in drawn(make().training(0, STAGE, 0, 0, 2)))
        others = [
            second,
            drawn(make().training(1, STAGE, 0, 0, 1))[0][1],
            drawn(make({"training.seed": 1}).training(0, STAGE, 0, 0, 1))[0][1],
        ]
        assert not any(np.array_equal(first, other) for other in others)

    def test_corrupted_here_if_asked_for(self, make, small):
        plain = drawn(make().training(0, STAGE, 3, 3, 5))
        corrupted = drawn(make({"corruption.where": "data"}).training(0, STAGE, 3, 3, 5))
        assert_same([batch[:2] for batch in corrupted], plain)
        for _, x, x_hat, mask in corrupted:
            assert 0 < mask.sum() < mask.size
            np.testing.assert_array_equal(x_hat, np.where(mask > 0, 1.0 - x, x))


class TestOtherPurposes:
    def test_validation_images_are_of_the_select_split_and_fixed(self, make, caches):
        batches = make()
        clean = batches.validation(STAGE)
        assert len(clean) == VALIDATION_BATCHES
        np.testing.assert_array_equal(clean, batches.validation(STAGE))
        assert_shows(clean, caches[1].resized(16, 16))

    def test_clean_images_are_of_the_train_split_and_fixed(self, make, caches):
        batches = make()
        clean = [batch.numpy() for batch in batches.clean(STAGE)]
        assert len(clean) == STATISTICS_BATCHES
        np.testing.assert_array_equal(clean, [batch.numpy() for batch in batches.clean(STAGE)])
        assert_shows(clean, caches[0].resized(16, 16))

    def test_each_purpose_has_its_own_random_numbers(self, caches, configure):
        batches = Batches(caches[0], caches[0], configure())
        training = drawn(batches.training(0, STAGE, 0, 0, 1))[0][1]
        select, clean = batches.validation(STAGE)[0], next(iter(batches.clean(STAGE))).numpy()
        assert not np.array_equal(training, select)
        assert not np.array_equal(training, clean)
        assert not np.array_equal(select, clean)


class TestSizes:
    def test_whole_images_are_shown(self, make, caches):
        switches = ("rotate", "flip_horizontal", "flip_vertical")
        changes = {f"data.{name}": False for name in switches}
        (_, x), *_ = drawn(make(changes).training(0, STAGE, 0, 0, 1))
        whole = np.array(caches[0].resized(16, 16), np.float32) / np.float32(255)
        for image in x:
            assert np.abs(whole - image).max(axis=(1, 2, 3)).min() == 0

    def test_resized_once_for_each_stage(self, make, caches, monkeypatch):
        sizes = []
        resized = ImageCache.resized

        def counted(self, height, width):
            sizes.append((height, width))
            return resized(self, height, width)

        monkeypatch.setattr(ImageCache, "resized", counted)
        batches = make()
        for stage in (STAGE, STAGE, Stage(8 * 3, 1, 1)):
            drawn(batches.training(0, stage, 0, 0, 1))
            list(batches.clean(stage))
            batches.validation(stage)
        assert sorted(sizes) == [(16, 16), (16, 16), (24, 24), (24, 24)]


def test_mean_colour_weighs_images_of_all_depths_and_sizes_alike(tmp_path, configure):
    colours = {np.uint8: ((255, 0, 51), (4, 4)), np.uint16: ((0, 65535, 13107), (8, 16))}
    samples = []
    for dtype, (colour, size) in colours.items():
        samples.append(Sample(tmp_path / f"{dtype.__name__}.png", "good"))
        image = np.full((*size, 3), colour[::-1], dtype)
        assert cv2.imwrite(str(samples[-1].path), image)
    cache = ImageCache(samples)
    assert [image.dtype for image in cache.images] == [np.uint8, np.float32]
    found = Batches(cache, cache, configure()).mean_colour
    np.testing.assert_allclose(found, [0.5, 0.5, 0.2], atol=1e-6)
