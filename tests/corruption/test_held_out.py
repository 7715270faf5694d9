"""Corruption families that are never trained on."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.corruption.held_out import held_out

SEED = tf.constant([41, 42])


def run(x, seed=SEED):
    x_hat, mask = held_out(tf.constant(x), seed)
    return x_hat.numpy(), mask.numpy()


def grey(count=90, side=64):
    return np.full((count, side, side, 3), 0.5, np.float32)


def check_contract(x, x_hat, mask):
    assert x_hat.shape == mask.shape == x.shape
    assert x_hat.dtype == mask.dtype == np.float32
    assert set(np.unique(mask)) <= {0.0, 1.0}
    np.testing.assert_array_equal(mask, np.repeat(mask[..., :1], x.shape[3], axis=3))
    assert (mask.sum(axis=(1, 2, 3)) > 0).all()
    outside = mask == 0
    np.testing.assert_array_equal(x_hat[outside].view(np.int32), x[outside].view(np.int32))
    assert (np.abs(x_hat - x).sum(axis=(1, 2, 3)) > 0).all()
    assert x_hat.min() >= 0
    assert x_hat.max() <= 1


@pytest.fixture(scope="module")
def families():
    """Changes of grey images, each (pixels, 3) with its region, by the family they show."""
    found = {"stain": [], "scratch": [], "noise": []}
    x_hat, mask = run(grey())
    for change, region in zip(x_hat - 0.5, mask[..., 0] > 0, strict=True):
        pixels = change[region]
        if np.ptp(pixels) < 1e-6:
            found["scratch"].append((pixels, region))
        # A stain has one colour, in whatever strength; noise has many.
        elif np.linalg.matrix_rank(pixels, tol=1e-4) == 1:
            found["stain"].append((pixels, region))
        else:
            found["noise"].append((pixels, region))
    return found


@pytest.mark.parametrize("shape", [(6, 16, 16, 3), (6, 24, 40, 3), (3, 41, 23, 1)])
def test_contract(rng, shape):
    x = rng.random(shape, np.float32)
    check_contract(x, *run(x))


def test_contract_of_flat_images():
    levels = np.float32([[0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1], [0.9, 0, 0.3]])
    x = np.tile(levels[:, None, None], (10, 20, 16, 1))
    for seed in range(3):
        check_contract(x, *run(x, tf.constant([seed, 0])))


def test_agreement(rng):
    x = rng.random((24, 40, 56, 3), np.float32)
    expected, mask = run(x)
    data = tf.data.Dataset.from_generator(
        lambda: x, output_signature=tf.TensorSpec((None, None, 3), tf.float32)
    )
    plain = tf.autograph.experimental.do_not_convert(lambda x: held_out(x, SEED))
    results = {
        "data": next(iter(data.batch(24).map(plain))),
        "jit": tf.function(plain, jit_compile=True)(x),
    }
    for name, (found, found_mask) in results.items():
        found, found_mask = found.numpy(), found_mask.numpy()
        check_contract(x, found, found_mask)
        differs = (np.abs(found - expected) > 1e-4) | (found_mask != mask)
        assert differs.sum() <= 1e-4 * mask.sum(), name


def test_the_seed_decides():
    first, again, other = (run(grey(6), tf.constant([1, n])) for n in (1, 1, 2))
    for ours, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(ours, same)
        assert (ours != different).any(axis=(1, 2, 3)).all()
        assert len({image.tobytes() for image in ours}) == 6


def test_families_come_alike_often(families):
    assert all(18 <= len(cases) <= 42 for cases in families.values())


def test_stains_are_blends_with_a_colour(families):
    change = [np.abs(pixels).max() for pixels, _ in families["stain"]]
    # At most 0.6 of the way from grey to an end.
    assert 0.15 < max(change) <= 0.3 + 1e-6
    colours = [np.sign(pixels.sum(axis=0)) for pixels, _ in families["stain"]]
    assert len(np.unique(colours, axis=0)) >= 6


def test_half_of_the_stains_have_soft_edges(families):
    soft = []
    for pixels, region in families["stain"]:
        strength = np.zeros(region.shape)
        strength[region] = np.abs(pixels).sum(axis=1)
        if np.ptp(strength[region]) > 1e-5:
            soft.append(region)
            depth = ndimage.distance_transform_edt(region)
            assert strength[depth == 1].mean() < 0.9 * strength[depth == depth.max()].mean()
    assert 0.25 < len(soft) / len(families["stain"]) < 0.75


def test_scratches_are_thin_and_dark_or_bright(families):
    levels = np.array([pixels[0, 0] for pixels, _ in families["scratch"]])
    assert (np.abs(levels) >= 0.2 - 1e-6).all()
    assert (np.abs(levels) <= 0.45 + 1e-6).all()
    assert np.ptp(np.abs(levels)) > 0.15
    assert 0.2 < np.mean(levels > 0) < 0.8
    for _, region in families["scratch"]:
        assert ndimage.distance_transform_edt(region).max() < 4


def test_noise_is_coarse(families):
    steps, spreads = [], []
    for pixels, region in families["noise"]:
        change = np.zeros((*region.shape, 3))
        change[region] = pixels
        steps.append(np.abs(np.diff(change, axis=0)[region[1:] & region[:-1]]).mean())
        spreads.append(np.abs(pixels).mean())
    assert np.mean(spreads) > 0.05
    # White noise would step by 1.4 times its spread from pixel to pixel.
    assert np.mean(steps) < 0.7 * np.mean(spreads)
