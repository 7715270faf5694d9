"""How near F comes to a projection: errors by hand for networks whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial import cKDTree

from ssae_tf.evaluation import projection
from ssae_tf.evaluation.projection import error_sums, projection_figures

SIZE = (24, 96)


@pytest.fixture
def square(monkeypatch):
    """The anomaly of every image: 2 × 2 pixels in a corner, darker by 0.25."""

    def held_out(x, seed):
        mask = np.zeros(x.shape, np.float32)
        mask[:, :2, :2] = 1.0
        return x - 0.25 * mask, tf.constant(mask)

    monkeypatch.setattr(projection, "held_out", held_out)


def image(level=0.5):
    return np.full((*SIZE, 3), level, np.float32)


def figures(network, *images):
    return projection_figures([error_sums(network, x) for x in images])


@pytest.mark.usefixtures("square")
class TestByHand:
    def test_a_linear_map(self):
        """F(x) = x / 2 halves all: residual 0.25, then 0.125."""
        found = figures(lambda x: 0.5 * x, image())
        assert found["residual"] == pytest.approx(0.25)
        assert found["idempotence"] == pytest.approx(0.125)
        assert found["corrupted_region_error_before"] == pytest.approx(0.25)
        # 0.25 / 2 against 0.5.
        assert found["corrupted_region_error_after"] == pytest.approx(0.375)
        assert [band["mean"] for band in found["conservation"]] == [0.0] * 4

    def test_the_identity_repairs_nothing_and_moves_nothing(self):
        found = figures(lambda x: x, image())
        assert found["residual"] == found["idempotence"] == 0.0
        assert found["corrupted_region_error_after"] == found["corrupted_region_error_before"]
        assert [band["mean"] for band in found["conservation"]] == [0.0] * 4

    def test_a_projection_repairs_all(self):
        """F(X) = 0.5, the only normal image."""
        found = figures(lambda x: np.full_like(x, 0.5), image())
        assert found["residual"] == found["idempotence"] == 0.0
        assert found["corrupted_region_error_before"] == pytest.approx(0.25)
        assert found["corrupted_region_error_after"] == 0.0

    def test_a_mean_spreads_the_anomaly_everywhere(self):
        """F(x) answers with the mean: what is taken in one place arrives in all."""
        found = figures(lambda x: np.full_like(x, x.mean()), image())
        moved = 0.25 * 4 / (SIZE[0] * SIZE[1])
        for band in found["conservation"]:
            assert band["mean"] == pytest.approx(moved, rel=1e-3)

    def test_change_falls_in_the_band_of_its_distance(self):
        """F moves row 0 by the anomaly's depth, from its column 1 by 3, 4, 5, 16, 17, 64, 65."""
        distances = [3, 4, 5, 16, 17, 64, 65]

        def network(x):
            moved = x.copy()
            moved[0, np.array(distances) + 1] += 0.5 - x[0, 0]
            return moved

        sums = error_sums(network, image())
        assert sums[4:, 0] == pytest.approx([0.25 * count for count in (2, 2, 2, 1)])
        # Every pixel is in one band, or in M.
        assert sums[4:, 1].sum() == SIZE[0] * SIZE[1] - 4

    def test_images_count_by_their_pixels(self):
        small = np.full((8, 8, 3), 1.0, np.float32)
        found = figures(lambda x: np.zeros_like(x), image(), small)
        pixels = SIZE[0] * SIZE[1]
        assert found["residual"] == pytest.approx((0.5 * pixels + 64.0) / (pixels + 64))
        assert found["n_images"] == 2

    def test_empty_bands_are_null(self):
        found = figures(lambda x: x, np.zeros((8, 8, 3), np.float32))
        assert json.loads(json.dumps(found["conservation"])) == [
            {"from": 0, "to": 4, "mean": 0.0},
            {"from": 4, "to": 16, "mean": 0.0},
            {"from": 16, "to": 64, "mean": None},
            {"from": 64, "to": None, "mean": None},
        ]


def test_no_image_gives_no_figure():
    found = projection_figures([])
    assert found["n_images"] == 0
    assert found["residual"] is None
    assert [band["mean"] for band in found["conservation"]] == [None] * 4


def test_bands_are_those_of_the_nearest_corrupted_pixel(rng):
    """Pixels of each band counted without a distance transform."""
    x = rng.random((40, 48, 3)).astype(np.float32)
    seen = []

    def network(y):
        seen.append(y)
        return y

    sums = error_sums(network, x)
    inside = (seen[1] != x).any(axis=-1)
    rows, columns = np.indices(inside.shape)
    places = np.stack([rows.ravel(), columns.ravel()], axis=1)
    # M may hold pixels that the anomaly leaves as they are, but hardly any.
    distance = cKDTree(places[inside.ravel()]).query(places)[0]
    counts = np.histogram(distance[distance > 0], [1e-9, 4 + 1e-9, 16 + 1e-9, 64 + 1e-9, 1e9])[0]
    np.testing.assert_allclose(sums[4:, 1], counts, atol=6)
    assert sums[2, 1] == sums[3, 1] == pytest.approx(inside.sum(), abs=6)


def test_the_anomaly_follows_from_the_image_alone(rng):
    x, other = rng.random((2, 32, 32, 3)).astype(np.float32)
    first = error_sums(lambda y: y, x)
    error_sums(lambda y: y, other)
    np.testing.assert_array_equal(error_sums(lambda y: y, x), first)
    assert (error_sums(lambda y: y, other)[2] != first[2]).any()
