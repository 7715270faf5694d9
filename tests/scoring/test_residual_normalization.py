"""Residual normalisation by location."""

from __future__ import annotations

import numpy as np
import pytest

from ssae_tf.scoring.residual_normalization import location_weights

STILL = {"left_right": False, "top_bottom": False, "turned": False}


def edged(height, width, level, share=0.25):
    """A map of 1 with a left edge of another level."""
    map_ = np.ones((height, width), np.float32)
    map_[:, : round(share * width)] = level
    return map_


def weights_of(maps, **symmetries):
    return location_weights(maps, **{**STILL, **symmetries})


class TestLocations:
    def test_are_shares_of_the_image(self):
        maps = [edged(64, 64, 3.0), edged(128, 192, 3.0), edged(320, 64, 3.0)] * 2000
        found = weights_of(maps)
        assert found.shape == (64, 64)
        assert found.dtype == np.float32
        # A quarter of the squares is 9, the rest 1: 3 on the mean.
        np.testing.assert_allclose(found[:, :16], np.sqrt(3 / 9), rtol=1e-3)
        np.testing.assert_allclose(found[:, 16:], np.sqrt(3 / 1), rtol=1e-3)

    def test_by_hand_with_few_images(self):
        # One image and five assumed ones: (9 + 5 · 3) / 6 and (1 + 5 · 3) / 6, of 3.
        found = weights_of([edged(64, 64, 3.0)])
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
        quarters = weights_of([map_], **{symmetry: True})[16::32, 16::32]
        hot = np.array(expected, bool)
        assert np.ptp(quarters[hot]) < 1e-6
        assert hot.all() or quarters[hot].max() < quarters[~hot].min()

    @pytest.mark.parametrize("size", [(1, 1), (3, 200), (500, 2)])
    def test_of_any_size(self, rng, size):
        found = weights_of([rng.random(size, np.float32) + 0.1])
        assert np.isfinite(found).all()
        assert (found > 0).all()

    def test_maps_of_nothing_give_finite_weights(self):
        assert np.isfinite(weights_of([np.zeros((20, 30), np.float32)] * 3)).all()

    @pytest.mark.parametrize("count", [1, 3, 50])
    def test_flat_maps_keep_their_unit(self, count):
        found = weights_of([np.full((80, 90), 0.02, np.float32)] * count)
        np.testing.assert_allclose(found, 1.0, rtol=1e-5)
