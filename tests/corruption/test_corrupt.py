"""X -> (X̂, M): what holds for every image, and what every setting does."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.config import CorruptionConfig
from ssae_tf.corruption.corrupt import _relief, corrupt

SEED = tf.constant([31, 32])
EIGHT = np.ones((3, 3))
ONLY = {
    "elastic": CorruptionConfig(),
    "cut_out": CorruptionConfig(elastic=0.0, cut_out=1.0),
    "patch_swap": CorruptionConfig(elastic=0.0, patch_swap=1.0),
    "texture": CorruptionConfig(elastic=0.0, texture=1.0),
}
RELIEF = CorruptionConfig(relief=1.0)
MIXED = CorruptionConfig(
    cut_out=1.0,
    patch_swap=1.0,
    texture=1.0,
    patches=3,
    brightness=0.2,
    tint=0.1,
    contrast=0.9,
    opacity=(0.2, 1.0),
    relief=0.4,
    noise=0.5,
)
CONFIGS = {**ONLY, "relief": RELIEF, "noise": CorruptionConfig(noise=1.0), "mixed": MIXED}
# Large patches, to look at what happens inside them.
LARGE = {"size": (0.9, 1.0), "stroke": 0.0, "polygon": 0.0}


def texture(rng, shape):
    """Images of smooth noise over all of [0, 1]."""
    x = ndimage.gaussian_filter(rng.random(shape), (0, 1, 1, 0))
    return ((x - x.min()) / (x.max() - x.min())).astype(np.float32)


def places(count, height, width):
    """Images whose first two channels tell the place, and the grey levels a pixel."""
    rows, columns = np.mgrid[:height, :width]
    slope = 0.8 / max(height, width)
    image = np.stack([rows, columns, 0.0 * rows], axis=-1) * slope + 0.1
    return np.repeat(image[None], count, axis=0).astype(np.float32), slope


def run(x, config, seed=SEED):
    x_hat, mask = corrupt(tf.constant(x), seed, config)
    return x_hat.numpy(), mask.numpy()


@lru_cache
def run_places(count, height, width, config):
    return run(places(count, height, width)[0], config)


def shifts(count, height, width, config):
    """M without channels, and by how many pixels the content of `places` has come."""
    x, slope = places(count, height, width)
    x_hat, mask = run_places(count, height, width, config)
    return mask[..., 0] > 0, ((x_hat - x) / slope)[..., :2]


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


def check_agreement(x, function):
    """Eagerly, in a tf.data graph of unknown sizes, and compiled."""
    expected, mask = (part.numpy() for part in function(tf.constant(x)))
    data = tf.data.Dataset.from_generator(
        lambda: x, output_signature=tf.TensorSpec((None, None, x.shape[3]), tf.float32)
    )
    results = {
        "data": next(
            iter(data.batch(len(x)).map(tf.autograph.experimental.do_not_convert(function)))
        ),
        "jit": tf.function(function, jit_compile=True, autograph=False)(x),
    }
    for name, (found, found_mask) in results.items():
        found, found_mask = found.numpy(), found_mask.numpy()
        check_contract(x, found, found_mask)
        differs = (np.abs(found - expected) > 1e-4) | (found_mask != mask)
        assert differs.sum() <= 1e-4 * mask.sum(), name


class TestContract:
    @pytest.mark.parametrize("size", [(16, 16), (24, 40), (41, 23)])
    @pytest.mark.parametrize("name", CONFIGS)
    def test_of_textures(self, rng, name, size):
        x = texture(rng, (8, *size, 3))
        check_contract(x, *run(x, CONFIGS[name]))

    @pytest.mark.parametrize("name", CONFIGS)
    def test_of_flat_images(self, name):
        levels = np.float32([[0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1], [0.9, 0, 0.3], [0, 1, 1]])
        x = np.tile(levels[:, None, None], (10, 20, 16, 1))
        check_contract(x, *run(x, CONFIGS[name]))

    def test_of_grey_images(self, rng):
        x = texture(rng, (4, 16, 24, 1))
        check_contract(x, *run(x, MIXED))

    def test_agreement(self, rng):
        x = texture(rng, (24, 40, 56, 3))
        config = dataclasses.replace(MIXED, elastic=4.0)
        check_agreement(x, lambda x: corrupt(x, SEED, config))

    def test_every_image_is_corrupted_in_its_own_way(self, rng):
        x = np.repeat(texture(rng, (1, 32, 32, 3)), 8, axis=0)
        x_hat, mask = run(x, CorruptionConfig(cut_out=1.0, patch_swap=1.0))
        assert len({image.tobytes() for image in mask}) == 8
        assert len({image.tobytes() for image in x_hat}) == 8

    def test_the_seed_decides(self, rng):
        x = texture(rng, (4, 32, 32, 3))
        first, again, other = (run(x, MIXED, tf.constant([1, n])) for n in (1, 1, 2))
        for ours, same, different in zip(first, again, other, strict=True):
            np.testing.assert_array_equal(ours, same)
            assert (ours != different).any(axis=(1, 2, 3)).all()


class TestTransformations:
    def test_cut_out_is_black(self, rng):
        x = 0.5 + 0.5 * texture(rng, (8, 24, 40, 3))
        x_hat, mask = run(x, ONLY["cut_out"])
        assert (x_hat[mask > 0] == 0).all()

    def test_patch_swap_takes_the_content_from_another_place(self):
        config = CorruptionConfig(elastic=0.0, patch_swap=1.0, size=(0.2, 0.5))
        found = set()
        for region, field in zip(*shifts(16, 40, 56, config), strict=True):
            # One shift for the whole patch; what leaves the image comes back on the other side.
            moved = np.round(field[region]).astype(int) % (40, 56)
            assert (moved == moved[0]).all()
            np.testing.assert_allclose(field[region], np.round(field[region]), atol=1e-3)
            # By at least the smallest side of a patch, either way round.
            assert (np.minimum(moved, (40, 56) - moved) >= 0.2 * 40).all()
            found.add(tuple(moved[0]))
        assert len(found) > 12

    def test_elastic_moves_by_a_smooth_field(self):
        config = CorruptionConfig(alpha=(30.0, 30.0), sigma=(4.0, 4.0), **LARGE)
        for region, field in zip(*shifts(6, 64, 64, config), strict=True):
            inner = ndimage.binary_erosion(region, iterations=3)
            expected = 30.0 / (2.0 * 4.0 * np.sqrt(3.0 * np.pi))
            assert 0.3 * expected < np.sqrt(np.mean(field[inner] ** 2)) < 2.0 * expected
            # The field's correlation length is sigma: steps between pixels are far smaller.
            steps = np.diff(field, axis=0)[inner[1:] & inner[:-1]]
            assert np.std(steps) < 0.35 * np.std(field[inner])

    def test_texture_is_another_one_in_every_image(self):
        x = np.full((12, 48, 48, 3), 0.5, np.float32)
        x[..., 0] = 0.6
        x_hat, mask = run(x, CorruptionConfig(elastic=0.0, texture=1.0, **LARGE))
        inside = [image[m[..., 0] > 0] for image, m in zip(x_hat, mask, strict=True)]
        means = np.array([colours.mean(axis=0) for colours in inside])
        spreads = np.array([colours.std(axis=0) for colours in inside])
        assert np.ptp(means, axis=0).min() > 0.4
        assert spreads.min() < 0.1
        assert 0.15 < spreads.max() <= 0.35
        # Colours are drawn one by one.
        assert np.ptp(means, axis=1).max() > 0.3

    @pytest.mark.parametrize("config", [ONLY["texture"], CorruptionConfig(tint=0.3)])
    def test_grey_images_stay_grey(self, rng, config):
        grey = np.repeat(texture(rng, (6, 32, 32, 1)), 3, axis=-1)
        x_hat, _ = run(grey, config)
        np.testing.assert_array_equal(x_hat, np.repeat(x_hat[..., :1], 3, axis=-1))
        assert np.abs(x_hat - grey).max() > 0.05

    def test_relief_changes_all_channels_alike(self, rng):
        x = 0.4 + 0.2 * texture(rng, (40, 48, 48, 3))
        x_hat, _ = run(x, RELIEF)
        change = x_hat - x
        np.testing.assert_allclose(change, np.repeat(change[..., :1], 3, axis=-1), atol=1e-6)
        largest = np.abs(change).max(axis=(1, 2, 3))
        assert largest.min() + 1e-6 >= 0.04
        assert largest.max() <= 0.35 + 1e-6
        # Light and dark lie side by side, as on the two slopes of a dent.
        assert (change.min(axis=(1, 2, 3)) < -0.01).mean() > 0.8
        assert (change.max(axis=(1, 2, 3)) > 0.01).mean() > 0.8

    def test_relief_does_not_reach_round_the_image(self):
        """A dent across the upper edge has no slope there, and none that comes from the lower."""
        covered, upper = np.ones((40, 64, 64), bool), np.zeros((40, 64, 64), bool)
        upper[:, :20, 16:48] = True
        everywhere, change = (_relief(tf.constant(r), SEED).numpy() for r in (covered, upper))
        # Where the region is all of the image, what is not rough is even.
        is_dent = np.isclose(everywhere, 0.0, atol=1e-3).all(axis=(1, 2, 3))
        assert 0.4 < is_dent.mean() < 0.8
        # Beyond the Gaussian's reach from the sides of the region.
        np.testing.assert_allclose(change[is_dent, 0, 31:33], 0.0, atol=1e-3)
        assert np.abs(change[is_dent, 18:20, 31:33]).max() > 0.01

    def test_regions_of_noise_have_their_share(self, rng):
        x = texture(rng, (200, 32, 32, 3))
        settings = {"patches": 3, "size": (0.3, 0.5)}
        pure, mixed, none = (
            run(x, CorruptionConfig(noise=share, **settings))[1] for share in (1.0, 0.4, 0.0)
        )
        is_noise, is_shapes = ((mixed == other).all(axis=(1, 2, 3)) for other in (pure, none))
        # One or the other, whole: never noise and patches together.
        assert (is_noise | is_shapes).all()
        assert is_noise.mean() == pytest.approx(0.4, abs=0.1)

    def test_dents_are_shaded_at_their_slopes_alone(self):
        x = np.full((24, 96, 96, 3), 0.5, np.float32)
        x_hat, mask = run(x, CorruptionConfig(relief=1.0, **LARGE))
        flat = []
        for image, region in zip(x_hat, mask[..., 0] > 0, strict=True):
            # Beyond the Gaussian's reach, four times its largest width.
            inner = ndimage.binary_erosion(region, EIGHT, iterations=14)
            assert inner.any()
            flat.append(np.abs(image[inner] - 0.5).max() < 1e-6)
        # The others are rough all over.
        assert 0.35 < np.mean(flat) < 0.85

    def test_relief_has_its_share(self, rng):
        x = texture(rng, (200, 16, 16, 3))
        pure, _ = run(x, RELIEF)
        mixed, _ = run(x, CorruptionConfig(relief=0.3))
        share = np.isclose(pure, mixed, atol=1e-6).all(axis=(1, 2, 3)).mean()
        assert share == pytest.approx(0.3, abs=0.1)

    def test_weights_are_relative_frequencies(self):
        weights = {"elastic": 3.0, "cut_out": 1.0, "patch_swap": 2.0}
        mixed, _ = run_places(150, 16, 16, CorruptionConfig(**weights))
        for name, weight in weights.items():
            pure, _ = run_places(150, 16, 16, ONLY[name])
            share = np.isclose(mixed, pure, atol=1e-6).all(axis=(1, 2, 3)).mean()
            assert share == pytest.approx(weight / 6.0, abs=0.1)

    @pytest.mark.parametrize("absent", ONLY)
    def test_weight_zero_is_never_drawn(self, absent):
        weights = {name: float(name != absent) for name in ONLY}
        mixed, _ = run_places(150, 16, 16, CorruptionConfig(**weights))
        pure = [run_places(150, 16, 16, ONLY[name])[0] for name in ONLY if name != absent]
        same = [np.isclose(mixed, other, atol=1e-6).all(axis=(1, 2, 3)) for other in pure]
        assert np.any(same, axis=0).all()


class TestSettings:
    CHANGES = {
        "elastic": 0.0,
        "cut_out": 5.0,
        "patch_swap": 5.0,
        "texture": 5.0,
        "share": 0.5,
        "relief": 0.5,
        "noise": 0.5,
        "blob": 9.0,
        "polygon": 9.0,
        "stroke": 9.0,
        "patches": 4,
        "size": (0.5, 0.6),
        "sigma": (1.0, 2.0),
        "alpha": (10.0, 20.0),
        "brightness": 0.3,
        "tint": 0.3,
        "contrast": 0.9,
        "opacity": (0.2, 0.6),
    }

    def test_every_setting_is_covered(self):
        names = {field.name for field in dataclasses.fields(CorruptionConfig)}
        # Where it runs is the training step's: tests/training.
        assert names - {"where"} == set(self.CHANGES)

    @pytest.mark.parametrize("name", CHANGES)
    def test_changes_the_result(self, name):
        base = CorruptionConfig(cut_out=0.5, patch_swap=0.5)
        changed = dataclasses.replace(base, **{name: self.CHANGES[name]})
        before, after = (run_places(8, 24, 24, config)[0] for config in (base, changed))
        assert np.abs(after - before).max() > 0.01

    @pytest.mark.parametrize("absent", ["blob", "polygon", "stroke"])
    def test_shape_weights(self, absent):
        families = ("blob", "polygon", "stroke")

        def masks(*present):
            weights = {name: float(name in present) for name in families}
            return run_places(30, 24, 24, CorruptionConfig(**weights))[1]

        present = [name for name in families if name != absent]
        mixed = masks(*present)
        drawn = [(mixed == masks(name)).all(axis=(1, 2, 3)) for name in present]
        assert np.any(drawn, axis=0).all()
        assert all(same.mean() > 0.2 for same in drawn)

    def test_patches(self, rng):
        x = texture(rng, (40, 64, 64, 3))
        blobs = {"size": (0.1, 0.1), "polygon": 0.0, "stroke": 0.0}

        def counts(patches):
            _, mask = run(x, CorruptionConfig(patches=patches, **blobs))
            return [ndimage.label(image[..., 0], EIGHT)[1] for image in mask]

        assert set(counts(1)) == {1}
        assert set(counts(4)) == {1, 2, 3, 4}

    @pytest.mark.parametrize("size", [(0.2, 0.3), (0.8, 1.0)])
    def test_size(self, rng, size):
        x = texture(rng, (24, 50, 70, 3))
        _, mask = run(x, CorruptionConfig(size=size, blob=1.0, polygon=0.0, stroke=0.0))
        extents = np.stack([np.ptp(np.argwhere(m[..., 0]), axis=0) + 1 for m in mask])
        assert extents.max() <= size[1] * 50 + 1
        # Blobs fill about three quarters of their patch's side.
        assert extents.mean() > 0.6 * size[0] * 50

    def test_alpha_scales_the_field(self):
        region, single = shifts(3, 48, 48, CorruptionConfig(alpha=(16.0, 16.0), **LARGE))
        _, double = shifts(3, 48, 48, CorruptionConfig(alpha=(32.0, 32.0), **LARGE))
        # Near the borders the warp stops at the edge.
        inner = np.zeros_like(region)
        inner[:, 10:-10, 10:-10] = region[:, 10:-10, 10:-10]
        assert np.abs(single[inner]).max() > 1.0
        np.testing.assert_allclose(double[inner], 2.0 * single[inner], atol=1e-3)

    def test_alpha_varies_between_its_bounds(self):
        # On linear ramps the change is proportional to alpha, image by image.
        sigma = (3.0, 3.0)
        region, unit = shifts(24, 32, 32, CorruptionConfig(alpha=(10, 10), sigma=sigma, **LARGE))
        _, drawn = shifts(24, 32, 32, CorruptionConfig(alpha=(10, 30), sigma=sigma, **LARGE))
        region[:, :8] = region[:, -8:] = region[:, :, :8] = region[:, :, -8:] = False
        ratios = np.array(
            [np.median(b[r] / a[r]) for a, b, r in zip(unit, drawn, region, strict=True)]
        )
        assert 0.99 < ratios.min() < 1.5
        assert 2.5 < ratios.max() < 3.01

    @pytest.mark.parametrize("sigma", [2.0, 6.0])
    def test_sigma_smooths_the_field(self, sigma):
        config = CorruptionConfig(alpha=(6.0 * sigma,) * 2, sigma=(sigma, sigma), **LARGE)
        region, field = shifts(12, 64, 64, config)
        region[:, :8] = region[:, -8:] = region[:, :, :8] = region[:, :, -8:] = False
        steps = np.diff(field, axis=1)[region[:, 1:] & region[:, :-1]]
        # Neighbouring pixels of noise smoothed by sigma differ by 1 / (√2 sigma) of its spread.
        expected = 1.0 / (np.sqrt(2.0) * sigma)
        assert np.std(steps) / np.std(field[region]) == pytest.approx(expected, rel=0.2)

    def test_sigma_varies_between_its_bounds(self):
        x, _ = places(24, 32, 32)
        low, high, drawn = (
            run_places(24, 32, 32, CorruptionConfig(sigma=sigma, alpha=(50.0, 50.0), **LARGE))[0]
            for sigma in ((2.0, 2.0), (6.0, 6.0), (2.0, 6.0))
        )
        strength = [np.abs(image - x).sum(axis=(1, 2, 3)) for image in (low, drawn, high)]
        # A wider Gaussian leaves a weaker field.
        assert np.mean(strength[0]) > 1.3 * np.mean(strength[1]) > 1.5 * np.mean(strength[2])
        nearest = [np.abs(drawn - end).sum(axis=(1, 2, 3)) for end in (low, high)]
        assert 4 < np.sum(nearest[0] < nearest[1]) < 20

    def test_brightness(self, rng):
        x = np.full((40, 24, 24, 3), 0.5, np.float32)
        x_hat, mask = run(x, CorruptionConfig(brightness=0.3))
        levels = []
        for change, region in zip(x_hat - x, mask > 0, strict=True):
            np.testing.assert_allclose(change[region], change[region][0], atol=1e-6)
            levels.append(change[region][0])
        assert -0.3 <= min(levels) < -0.2
        assert 0.2 < max(levels) <= 0.3
        assert len(np.unique(np.round(levels, 4))) > 30

    def test_share_of_the_images(self, rng):
        x = texture(rng, (60, 16, 16, 3))
        every, all_masks = run(x, CorruptionConfig())
        some, masks = run(x, CorruptionConfig(share=0.3))
        touched = masks.any(axis=(1, 2, 3))
        assert 8 <= touched.sum() <= 28
        np.testing.assert_array_equal(some[touched], every[touched])
        np.testing.assert_array_equal(masks[touched], all_masks[touched])
        np.testing.assert_array_equal(some[~touched], x[~touched])
        none, no_masks = run(x, CorruptionConfig(share=0.0))
        np.testing.assert_array_equal(none, x)
        assert not no_masks.any()

    def test_contrast_multiplies_the_deviations(self, rng):
        # Noise is nearly all deviation from its surroundings, and a swap leaves its contrast.
        x = (0.5 + 0.1 * rng.normal(size=(40, 48, 48, 3))).clip(0, 1).astype(np.float32)
        swap = {"elastic": 0.0, "patch_swap": 1.0, **LARGE}
        x_hat, mask = run(x, CorruptionConfig(contrast=0.9, **swap))
        gains = [p[m > 0].std() / 0.1 for p, m in zip(x_hat, mask, strict=True)]
        assert 0.05 < min(gains) < 0.4
        assert 1.5 < max(gains) < 2.0
        means = [p[m > 0].mean() for p, m in zip(x_hat, mask, strict=True)]
        np.testing.assert_allclose(means, 0.5, atol=0.03)

    def test_opacity_blends_with_the_image(self):
        x = np.full((40, 16, 16, 3), 0.8, np.float32)
        black = {"elastic": 0.0, "cut_out": 1.0}
        x_hat, mask = run(x, CorruptionConfig(opacity=(0.25, 0.75), **black))
        levels = np.array([p[m > 0].mean() for p, m in zip(x_hat, mask, strict=True)])
        shares = 1.0 - levels / 0.8
        assert 0.25 <= shares.min() < 0.33
        assert 0.67 < shares.max() <= 0.75

    def test_tint_differs_from_channel_to_channel(self):
        x = np.full((16, 32, 32, 3), 0.5, np.float32)
        # Grey images are tinted grey.
        x[..., 0] = 0.6
        x_hat, mask = run(x, CorruptionConfig(tint=0.2))
        changes = np.stack([(x_hat - x)[k][mask[k, ..., 0] > 0][0] for k in range(16)])
        assert np.ptp(changes, axis=1).max() > 0.1
        assert np.abs(changes).max() <= 0.2
        for k in range(16):
            inside = (x_hat - x)[k][mask[k, ..., 0] > 0]
            np.testing.assert_allclose(inside, np.tile(changes[k], (len(inside), 1)), atol=1e-6)

    def test_brightness_differs_from_patch_to_patch(self):
        x = np.full((20, 32, 32, 3), 0.5, np.float32)
        x_hat, mask = run(x, CorruptionConfig(brightness=0.3, patches=3))
        levels = [len(np.unique(p[m > 0].round(4))) for p, m in zip(x_hat, mask, strict=True)]
        assert set(levels) == {1, 2, 3}

    def test_brightness_is_added_to_the_transformation(self, rng):
        x = 0.3 + 0.4 * texture(rng, (6, 32, 32, 3))
        plain, mask = run(x, CorruptionConfig())
        brighter, _ = run(x, CorruptionConfig(brightness=0.3))
        for before, after, region in zip(plain, brighter, mask > 0, strict=True):
            change = (after - before)[region]
            np.testing.assert_allclose(change, change[0], atol=1e-5)
            assert abs(change[0]) > 1e-3
