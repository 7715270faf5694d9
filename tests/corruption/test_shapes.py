"""Patches and shape masks: where they lie, how thin, convex and connected they are."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage, stats

from ssae_tf.corruption.shapes import noise_masks, random_masks, random_patches

SEED = tf.constant([21, 22])
COUNT = 60
BLOB, POLYGON, STROKE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
FAMILIES = {"blob": BLOB, "polygon": POLYGON, "stroke": STROKE}
IMAGES = [(16, 16), (24, 40), (40, 24), (96, 96)]


def draw_patches(image, size, count=COUNT):
    return [part.numpy() for part in random_patches(count, *image, size, SEED)[:4]]


@lru_cache
def draw(family, image, count=COUNT):
    patches = random_patches(count, *image, (0.2, 0.8), SEED)
    masks = random_masks(patches, *image, family, SEED)
    return [part.numpy() for part in patches[:4]], masks.numpy()


def centres(patches):
    return np.stack(patches[:2], axis=1).astype(int)


class TestPatches:
    @pytest.mark.parametrize("image", IMAGES)
    def test_lie_inside_the_image(self, image):
        y, x, half_height, half_width = draw_patches(image, (0.05, 1.0), 500)
        for centre, half, side in ((y, half_height, image[0]), (x, half_width, image[1])):
            np.testing.assert_array_equal(centre, np.round(centre))
            # Centres are whole pixels, so that a border may lie half a pixel outside.
            assert (centre - half).min() >= -0.5
            assert (centre + half).max() <= side - 0.5

    def test_reach_all_of_the_image(self):
        y, x, half_height, half_width = draw_patches((24, 40), (0.2, 0.3), 500)
        assert (y - half_height).min() < 1
        assert (y + half_height).max() > 22
        assert (x - half_width).min() < 1
        assert (x + half_width).max() > 38

    def test_sides_are_log_uniform_shares_of_the_shorter_side(self):
        _, _, half_height, half_width = draw_patches((100, 300), (0.1, 0.4), 1000)
        for half in (half_height, half_width):
            share = np.log2(2.0 * half / 100.0 / 0.1)
            assert stats.kstest(share, stats.uniform(0, 2).cdf).pvalue > 0.01
        assert abs(np.corrcoef(half_height, half_width)[0, 1]) < 0.1

    def test_are_at_least_four_pixels_wide(self):
        _, _, half_height, half_width = draw_patches((16, 16), (0.01, 0.02))
        np.testing.assert_array_equal(np.stack([half_height, half_width]), 2.0)


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("family", FAMILIES)
class TestEveryFamily:
    def test_holds_the_centre_and_stays_inside_the_patch(self, family, image):
        patches, masks = draw(FAMILIES[family], image)
        assert masks.shape == (COUNT, *image)
        half_height, half_width = patches[2:]
        for n, (row, column) in enumerate(centres(patches)):
            assert masks[n, row, column]
            rows, columns = np.nonzero(masks[n])
            assert np.abs(rows - row).max() <= half_height[n]
            assert np.abs(columns - column).max() <= half_width[n]

    def test_all_differ(self, family, image):
        _, masks = draw(FAMILIES[family], image)
        # In an image of 16² some small ones are alike.
        assert len({mask.tobytes() for mask in masks}) >= 0.9 * COUNT


@pytest.mark.parametrize("image", [(24, 40), (64, 64)])
class TestOneFamily:
    def test_blobs_are_star_shaped_and_in_one_piece(self, image):
        patches, masks = draw(BLOB, image)
        for mask, centre in zip(masks, centres(patches), strict=True):
            offsets = np.argwhere(mask) - centre
            for part in (2, 3):
                whole = offsets[(offsets % part == 0).all(axis=1)] // part + centre
                assert mask[tuple(whole.T)].all()
            assert ndimage.label(mask, np.ones((3, 3)))[1] == 1

    def test_polygons_are_convex(self, image):
        for mask in draw(POLYGON, image)[1]:
            pixels = np.argwhere(mask)[::2]
            sums = (pixels[:, None] + pixels[None]).reshape(-1, 2)
            middles = sums[(sums % 2 == 0).all(axis=1)] // 2
            assert mask[tuple(middles.T)].all()

    def test_strokes_are_thin_curves(self, image):
        patches, masks = draw(STROKE, image)
        for n, mask in enumerate(masks):
            assert ndimage.label(mask, np.ones((3, 3)))[1] == 1
            thickness = max(0.25 * min(patches[2][n], patches[3][n]), 3.0)
            # The border of the image does not count as outside.
            depth = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge")).max()
            # Where a curve turns back its two arms may lie side by side.
            assert depth <= thickness + 1.0


def test_families_fill_their_patches_differently():
    fill = {}
    for name, weights in FAMILIES.items():
        (_, _, half_height, half_width), masks = draw(weights, (96, 96))
        fill[name] = np.median(masks.sum(axis=(1, 2)) / (4.0 * half_height * half_width))
    assert fill["stroke"] < 0.15 < 0.2 < fill["polygon"] < fill["blob"] < 0.6


class TestNoise:
    SEED = tf.constant([5, 6])

    def masks(self, count=200, height=48, width=72):
        return noise_masks(count, height, width, self.SEED).numpy()

    def test_never_empty_and_inside_a_window(self):
        masks = self.masks()
        assert masks.any(axis=(1, 2)).all()
        for mask in masks:
            rows, columns = np.nonzero(mask)
            assert np.ptp(rows) <= 0.6 * 48 + 1
            assert np.ptp(columns) <= 0.6 * 72 + 1

    def test_in_one_piece_and_in_many(self):
        pieces = [ndimage.label(mask, np.ones((3, 3)))[1] for mask in self.masks(60, 128, 128)]
        assert min(pieces) == 1
        assert max(pieces) > 2

    def test_edges_are_covered_nearly_as_often_as_the_middle(self):
        covered = self.masks(4000, 32, 32).mean(axis=0)
        edges = np.concatenate([covered[0], covered[-1], covered[:, 0], covered[:, -1]])
        assert edges.mean() > 0.4 * covered[12:20, 12:20].mean()

    @pytest.mark.parametrize("size", [(1, 1), (2, 40), (5, 5)])
    def test_of_tiny_images(self, size):
        assert self.masks(20, *size).any(axis=(1, 2)).all()


class TestWeights:
    @pytest.mark.parametrize(
        "weights", [(3.0, 1.0, 0.0), (1.0, 0.0, 3.0), (0.0, 0.2, 0.6), (2.0, 5.0, 1.0)]
    )
    def test_are_relative_frequencies(self, weights):
        count = 400
        _, masks = draw(weights, (24, 24), count=count)
        pure = [draw(family, (24, 24), count=count)[1] for family in FAMILIES.values()]
        is_family = np.stack([(masks == other).all(axis=(1, 2)) for other in pure])
        drawn = is_family[np.asarray(weights) > 0]
        assert drawn.any(axis=0).all()
        for share, found in zip(np.asarray(weights) / sum(weights), is_family, strict=True):
            # Small masks of two families may be alike, so a little more may be found.
            assert found.mean() == pytest.approx(share, abs=0.1)


def test_in_graphs_of_unknown_sizes():
    def masks_of(height, width, seed):
        patches = random_patches(40, height, width, (0.2, 0.8), seed)
        return random_masks(patches, height, width, (1.0, 1.0, 1.0), seed)

    signature = [tf.TensorSpec((), tf.int32)] * 2 + [tf.TensorSpec((2,), tf.int32)]
    graph = tf.function(masks_of, input_signature=signature)
    for image in ((24, 40), (40, 16)):
        assert np.mean(graph(*image, SEED) != masks_of(*image, SEED)) < 1e-4
