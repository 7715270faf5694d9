"""A network is not taught to repair what is ignored, nor judged by it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import CorruptionConfig, Stage
from ssae_tf.corruption.corrupt import corrupt
from ssae_tf.corruption.held_out import held_out
from ssae_tf.data.cache import ImageCache
from ssae_tf.scoring.ignored import Ignored
from ssae_tf.training import selection
from ssae_tf.training.batches import Batches
from ssae_tf.training.selection import Validator
from ssae_tf.training.step import make_step

STAGE = Stage(16, 3, 4)
# Of the images of `caches`, 24 × 32.
MASK = np.zeros((24, 32), np.bool_)
MASK[3:14, 5:20] = True


def ignoring(cache, border=0):
    """The same images, white where they are ignored and darker elsewhere."""
    made = ImageCache(cache.samples)
    made.ignored = Ignored(MASK, border)
    counted = made.ignored.pixels(24, 32)[..., None]
    made.images = [np.where(counted, np.minimum(one, 200), 255) for one in cache.images]
    return made


def all_white(x):
    return np.asarray(x).min(axis=-1, keepdims=True) == 1.0


class TestCorruption:
    X = tf.fill((64, 32, 32, 3), 0.4)

    @pytest.fixture
    def counted(self):
        return tf.tile(Ignored(MASK).counted(32, 32), (64, 1, 1, 1))

    @pytest.mark.parametrize("kind", ["corrupt", "held_out"])
    def test_it_stays_out_and_is_the_same_elsewhere(self, kind, counted):
        seed = tf.constant([3, 4])
        more = [CorruptionConfig(patches=3, noise=0.3, relief=0.3)] if kind == "corrupt" else []
        make = corrupt if kind == "corrupt" else held_out
        x_hat, mask = make(self.X, seed, *more, counted)
        expected, whole = make(self.X, seed, *more)
        outside = np.broadcast_to(counted, self.X.shape) > 0
        assert (np.asarray(whole)[~outside] > 0).any()
        assert (np.asarray(mask)[~outside] == 0).all()
        np.testing.assert_array_equal(np.asarray(mask)[outside], np.asarray(whole)[outside])
        np.testing.assert_array_equal(x_hat, np.where(mask > 0, expected, self.X))


class TestBatches:
    def test_what_counts_is_resized_and_turned_with_the_images(self, caches, configure):
        train, select = (ignoring(cache) for cache in caches)
        batches = Batches(train, select, configure())
        drawn = list(batches.training(0, STAGE, 0, 0, 6))
        drawn += zip(
            range(4), batches.validation(STAGE), batches.validation_counted(STAGE), strict=True
        )
        assert 0.0 < np.mean([np.mean(counted) for *_, counted in drawn]) < 1.0
        for _, x, counted in drawn:
            assert counted.shape == (3, 16, 16, 1)
            # An edge is between the two.
            assert (all_white(x) == (np.asarray(counted) == 0.0)).mean() > 0.9
            assert not (all_white(x) & (np.asarray(counted) > 0.0)).any()

    def test_a_border_is_one_of_the_image(self, caches, configure):
        train, select = (ignoring(cache, 6) for cache in caches)
        config = configure({"data.rotate": False})
        for *_, counted in Batches(train, select, config).training(0, STAGE, 0, 0, 4):
            # Of 24 × 32 pixels; at 16 × 16 these are 4 rows and 3 columns on either side.
            inside = np.zeros((16, 16), np.bool_)
            inside[4:12, 3:13] = True
            assert not counted.numpy()[:, ~inside].any()
            assert counted.numpy()[:, inside].any(axis=(1, 2)).all()

    def test_the_pipeline_corrupts_nothing_there(self, caches, configure):
        config = configure({"corruption.where": "data", "corruption.size": [0.9, 1.0]})
        train, select = (ignoring(cache) for cache in caches)
        for _, x, _, mask in Batches(train, select, config).training(0, STAGE, 0, 0, 3):
            assert mask.numpy().any()
            assert (mask.numpy()[np.broadcast_to(all_white(x), mask.shape)] == 0).all()

    def test_a_step_corrupts_nothing_there(self, caches, configure, small, monkeypatch):
        config = configure({"corruption.size": [0.9, 1.0]})
        train, select = (ignoring(cache) for cache in caches)
        seen = []

        def spy(x, seed, settings, *counted):
            x_hat, mask = corrupt(x, seed, settings, *counted)
            seen.append((x.numpy(), mask.numpy()))
            return x_hat, mask

        monkeypatch.setattr("ssae_tf.training.step.corrupt", spy)
        model = small(config.model, 16, seed=0, mean_colour=None)
        optimizer = tf.keras.optimizers.Adam(1e-3)
        optimizer.build(model.trainable_variables)
        run = make_step(model, optimizer, config)
        batches = list(Batches(train, select, config).training(0, STAGE, 0, 0, 3))
        tf.config.run_functions_eagerly(True)
        try:
            for index, *images in batches:
                assert np.isfinite([float(one) for one in run(index, *images)]).all()
        finally:
            tf.config.run_functions_eagerly(False)
        assert len(seen) == 3
        for x, mask in seen:
            assert mask.any()
            assert (mask[np.broadcast_to(all_white(x), mask.shape)] == 0).all()


def test_what_is_ignored_does_not_choose_the_checkpoint(small, configure, rng, monkeypatch):
    """The network repairs badly there, and the images hold anything."""

    def left_half(x, seed, *more):
        inside = tf.broadcast_to(tf.range(16)[:, None] < 4, x.shape)
        return tf.where(inside, 1.0 - x, x), tf.cast(inside, tf.float32)

    for name in ("corrupt", "held_out"):
        monkeypatch.setattr(selection, name, left_half)
    model = small(configure().model, 16, seed=0, mean_colour=None)
    config = configure({"objective.equation": 3, "scoring.smoothing_sigma": 0.0})
    images = list(rng.random((4, 2, 16, 16, 3), dtype=np.float32))
    counted = np.ones((2, 16, 16, 1), np.float32)
    counted[:, :, 8:] = 0.0
    found = Validator(model, images, config, [counted] * 4).validate()
    with_all = Validator(model, images, config).validate()
    assert found.held_out_auroc != with_all.held_out_auroc
    maps = [np.abs(model(left_half(x, None)[0]) - left_half(x, None)[0]).mean(-1) for x in images]
    truth = [left_half(x, None)[1].numpy()[..., 0] for x in images]
    chosen = np.stack([counted[..., 0]] * 4) > 0
    expected = selection.auroc(np.stack(truth)[chosen] > 0, np.stack(maps)[chosen])
    assert found.held_out_auroc == pytest.approx(expected, abs=1e-6)
