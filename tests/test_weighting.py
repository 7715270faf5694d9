"""What residuals are worth, by scale and by place."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from ssae_tf.weighting import residual_weights

STILL = {"left_right": False, "top_bottom": False, "turned": False}


def edged(height, width, level, share=0.25):
    """A map of 1 with a left edge of another level."""
    map_ = np.ones((height, width), np.float32)
    map_[:, : round(share * width)] = level
    return map_


def of_one_scale(maps, **symmetries):
    return residual_weights(([map_] for map_ in maps), [0.9], **{**STILL, **symmetries})[0]


class TestPlaces:
    def test_are_shares_of_the_picture(self):
        maps = [edged(64, 64, 3.0), edged(128, 192, 3.0), edged(320, 64, 3.0)] * 2000
        found = of_one_scale(maps)
        assert found.shape == (64, 64)
        assert found.dtype == np.float32
        # A quarter of the squares is 9, the rest 1: 3 on the mean.
        np.testing.assert_allclose(found[:, :16], np.sqrt(3 / 9), rtol=1e-3)
        np.testing.assert_allclose(found[:, 16:], np.sqrt(3 / 1), rtol=1e-3)

    def test_by_hand_with_few_pictures(self):
        # One picture and five assumed ones: (9 + 5 · 3) / 6 and (1 + 5 · 3) / 6, of 3.
        found = of_one_scale([edged(64, 64, 3.0)])
        np.testing.assert_allclose(found[:, :16] ** -2, 24 / 18, rtol=1e-5)
        np.testing.assert_allclose(found[:, 16:] ** -2, 16 / 18, rtol=1e-5)

    @pytest.mark.parametrize(
        ("symmetry", "expected"),
        [
            ("left_right", [[1, 1], [0, 0]]),
            ("top_bottom", [[1, 0], [1, 0]]),
            ("turned", [[1, 1], [1, 1]]),
        ],
    )
    def test_that_may_change_are_one(self, symmetry, expected):
        """A hot corner at the top left."""
        map_ = np.zeros((64, 64), np.float32)
        map_[:32, :32] = 1.0
        quarters = of_one_scale([map_], **{symmetry: True})[16::32, 16::32]
        hot = np.array(expected, bool)
        assert np.ptp(quarters[hot]) < 1e-6
        assert hot.all() or quarters[hot].max() < quarters[~hot].min()

    @pytest.mark.parametrize("size", [(1, 1), (3, 200), (500, 2)])
    def test_of_any_size(self, rng, size):
        found = of_one_scale([rng.random(size, np.float32) + 0.1])
        assert np.isfinite(found).all()
        assert (found > 0).all()

    def test_maps_of_nothing_give_finite_weights(self):
        assert np.isfinite(of_one_scale([np.zeros((20, 30), np.float32)] * 3)).all()


class TestScales:
    @pytest.mark.parametrize("count", [1, 3, 50])
    def test_flat_maps_keep_their_unit(self, count):
        """The weighted sum of normal maps is the mean over scales of what is usual."""
        levels = (0.1, 0.02, 0.3)
        maps = [[np.full((80, 90), level, np.float32) for level in levels]] * count
        weights = residual_weights(maps, [0.9, 0.6, 0.99], **STILL)
        total = sum(w * level for w, level in zip(weights, levels, strict=True))
        np.testing.assert_allclose(total, np.mean(levels), rtol=1e-5)

    def test_count_by_what_they_find(self):
        """All divided by their noise, and multiplied by d′."""
        levels, found = (0.1, 0.02), (0.95, 0.7)
        maps = [[np.full((64, 64), level, np.float32) for level in levels]]
        fine, coarse = residual_weights(maps, found, **STILL)[:, 0, 0]
        d = norm.ppf(found)
        assert fine / coarse == pytest.approx(d[0] * 0.02 / (d[1] * 0.1), rel=1e-5)

    @pytest.mark.parametrize("found", [(0.5, 0.9), (0.1, 0.9), (1.0, 1.0), (0.5, 0.5)])
    def test_limits_of_what_an_auroc_says(self, rng, found):
        maps = [[rng.random((64, 64), np.float32) for _ in found]]
        weights = residual_weights(maps, found, **STILL)
        assert np.isfinite(weights).all()
        assert (weights > 0).all()
        if found[0] <= 0.5 < found[1]:
            # Nothing was learnt there.
            assert weights[0].mean() < 0.05 * weights[1].mean()
