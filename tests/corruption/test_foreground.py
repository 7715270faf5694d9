"""The part is told from its background, and regions lie on it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import CorruptionConfig
from ssae_tf.corruption.corrupt import corrupt
from ssae_tf.corruption.foreground import foreground

SEED = tf.constant([3, 4])
# A part of 32 × 32 pixels at (40, 64).
PART = np.s_[40:72, 64:96]
CONFIG = CorruptionConfig(size=(0.04, 0.2), texture=1.0, elastic=0.0, noise=0.5, patches=3)


@pytest.fixture
def screws(rng):
    """Sixteen images with one striped part on a plain ground that is slightly noisy."""
    images = 0.8 + 0.004 * rng.standard_normal((16, 96, 128, 3))
    images[:, PART[0], PART[1]] = np.where(np.arange(32) % 4 < 2, 0.3, 0.7)[:, None, None]
    return tf.constant(images, tf.float32)


@pytest.fixture
def surfaces(rng):
    return tf.constant(rng.random((16, 96, 128, 3)), tf.float32)


def test_a_part_with_the_blocks_around_it(screws):
    expected = np.zeros((16, 12, 16), bool)
    expected[:, 4:10, 7:13] = True
    np.testing.assert_array_equal(foreground(screws), expected)


def test_an_even_part_is_told_by_its_colour():
    image = np.full((1, 64, 64, 3), 0.2, np.float32)
    image[:, 24:40, 24:40, 1] = 0.35
    expected = np.zeros((1, 8, 8), bool)
    expected[:, 2:6, 2:6] = True
    np.testing.assert_array_equal(foreground(tf.constant(image)), expected)


def test_a_surface_is_all_foreground(surfaces):
    assert foreground(surfaces).numpy().all()


@pytest.mark.parametrize("size", [(1, 1), (5, 20), (32, 32), (33, 47)])
def test_an_image_of_one_colour_has_none_and_is_corrupted_all_the_same(size):
    image = tf.fill((2, *size, 3), 0.5)
    blocks = foreground(image)
    assert blocks.shape == (2, -(-size[0] // 8), -(-size[1] // 8))
    assert not blocks.numpy().any()
    mask = corrupt(image, SEED, dataclasses.replace(CONFIG, foreground=True))[1].numpy()
    assert mask.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_most_regions_lie_on_the_part(screws, noise):
    on_part = {}
    for wanted in (False, True):
        config = dataclasses.replace(CONFIG, noise=noise, foreground=wanted)
        centred = []
        for k in range(8):
            mask = corrupt(screws, SEED + k, config)[1].numpy()[..., 0]
            centred += [m[32:80, 56:104].sum() / m.sum() for m in mask]
        on_part[wanted] = np.mean(centred)
    assert on_part[False] < 0.3
    assert on_part[True] > 2.0 * on_part[False]


def test_on_a_surface_the_regions_are_the_same(surfaces):
    pairs = (
        corrupt(surfaces, SEED, dataclasses.replace(CONFIG, foreground=wanted))
        for wanted in (False, True)
    )
    for one, other in zip(*pairs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_in_graphs_of_unknown_sizes(screws):
    config = dataclasses.replace(CONFIG, foreground=True)
    signature = [tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((2,), tf.int32)]
    graph = tf.function(lambda x, seed: corrupt(x, seed, config), input_signature=signature)
    for one, other in zip(graph(screws, SEED), corrupt(screws, SEED, config), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
