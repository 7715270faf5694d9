"""What is usual at each place of a map."""

from __future__ import annotations

import numpy as np
import pytest

from ssae_tf.spread import location_spread

STILL = {"left_right": False, "top_bottom": False, "turned": False}


def edged(height, width, level, share=0.25):
    """A map of 1 with a left edge of another level."""
    map_ = np.ones((height, width), np.float32)
    map_[:, : round(share * width)] = level
    return map_


def test_places_are_shares_of_the_picture():
    maps = [edged(64, 64, 3.0), edged(128, 192, 3.0), edged(320, 64, 3.0)] * 2000
    found = location_spread(maps, **STILL)
    assert found.shape == (64, 64)
    assert found.dtype == np.float32
    # A quarter of the squares is 9, the rest 1: 3 on the mean.
    np.testing.assert_allclose(found[:, :16], np.sqrt(9 / 3), rtol=1e-3)
    np.testing.assert_allclose(found[:, 16:], np.sqrt(1 / 3), rtol=1e-3)


def test_by_hand_with_few_pictures():
    # One picture and five assumed ones: (3 + 5) / 6 and (1 / 3 + 5) / 6.
    found = location_spread([edged(64, 64, 3.0)], **STILL)
    np.testing.assert_allclose(found[:, :16] ** 2, 8 / 6, rtol=1e-6)
    np.testing.assert_allclose(found[:, 16:] ** 2, (1 / 3 + 5) / 6, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 50])
def test_the_root_mean_square_is_1_and_the_unit_does_not_matter(rng, count):
    maps = [rng.random((90, 70), np.float32) for _ in range(count)]
    found = location_spread(maps, **STILL)
    assert np.square(found).mean() == pytest.approx(1.0, rel=1e-5)
    scaled = location_spread([0.01 * map_ for map_ in maps], **STILL)
    np.testing.assert_allclose(scaled, found, rtol=1e-4)


@pytest.mark.parametrize(
    ("symmetry", "expected"),
    [
        ("left_right", [[1, 1], [0, 0]]),
        ("top_bottom", [[1, 0], [1, 0]]),
        ("turned", [[1, 1], [1, 1]]),
    ],
)
def test_places_that_may_change_are_one(symmetry, expected):
    """A hot corner at the top left."""
    map_ = np.zeros((64, 64), np.float32)
    map_[:32, :32] = 1.0
    found = location_spread([map_], **{**STILL, symmetry: True})
    quarters = found[16::32, 16::32]
    hot = np.array(expected, bool)
    assert np.ptp(quarters[hot]) < 1e-6
    assert hot.all() or quarters[hot].min() > quarters[~hot].max()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (500, 2)])
def test_of_any_size(rng, size):
    found = location_spread([rng.random(size, np.float32) + 0.1], **STILL)
    assert np.isfinite(found).all()
    assert (found > 0).all()


def test_maps_of_nothing_leave_maps_alone():
    maps = [np.zeros((20, 30), np.float32)] * 3
    assert (location_spread(maps, **STILL) == 1).all()
