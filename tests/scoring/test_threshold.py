"""Image score, threshold, masks and defects, against brute-force labelling."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from ssae_tf.errors import InputError
from ssae_tf.scoring.threshold import (
    anomaly_mask,
    calibrate,
    default_min_area,
    image_score,
    is_anomalous,
)
from ssae_tf.scoring.threshold import defects as defects_of

EIGHT = np.ones((3, 3))


def brute_force_score(anomaly_map, min_area):
    for level in np.unique(anomaly_map)[::-1]:
        labels, _ = ndimage.label(anomaly_map >= level, EIGHT)
        if np.bincount(labels.ravel())[1:].max() >= min_area:
            return float(level)
    raise AssertionError("the whole map is a component at its lowest level")


def brute_force_mask(anomaly_map, threshold, min_area):
    labels, count = ndimage.label(anomaly_map.astype(np.float64) > threshold, EIGHT)
    kept = [i for i in range(1, count + 1) if np.sum(labels == i) >= min_area]
    return np.isin(labels, kept)


def defects(anomaly_map, *rule, **more):
    """Those of the mask that the rule gives."""
    return defects_of(anomaly_map, anomaly_mask(anomaly_map, *rule, **more))


def plateau(rng, shape):
    array = rng.random(shape) * 0.1
    array[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 0.5
    return array


MAPS = {
    "noise": lambda rng, shape: rng.random(shape),
    "smooth": lambda rng, shape: ndimage.gaussian_filter(rng.random(shape), 2),
    "float32": lambda rng, shape: ndimage.gaussian_filter(rng.random(shape, np.float32), 1),
    "few levels": lambda rng, shape: rng.integers(0, 4, shape) / 3,
    "smooth levels": lambda rng, shape: np.round(ndimage.gaussian_filter(rng.random(shape), 1), 1),
    "plateau": plateau,
    "flat": lambda _rng, shape: np.full(shape, 0.25),
    "integers": lambda rng, shape: rng.integers(-5, 5, shape),
    "negative": lambda rng, shape: -rng.random(shape),
}


@pytest.fixture(params=MAPS)
def make_map(request):
    return MAPS[request.param]


@pytest.mark.parametrize("shape", [(1, 1), (1, 12), (12, 1), (2, 3), (17, 23)])
def test_image_score_is_the_brute_force_level(make_map, shape):
    size = shape[0] * shape[1]
    for seed in range(4):
        anomaly_map = make_map(np.random.default_rng(seed), shape)
        for min_area in sorted(
            {1, 2, 3, 7, size // 10, size // 2, size - 1, size} & {*range(1, size + 1)}
        ):
            assert image_score(anomaly_map, min_area) == brute_force_score(anomaly_map, min_area)


def test_image_score_at_the_limits_of_min_area(make_map):
    anomaly_map = make_map(np.random.default_rng(0), (9, 11))
    assert image_score(anomaly_map, 1) == anomaly_map.max()
    assert image_score(anomaly_map, anomaly_map.size) == anomaly_map.min()


def test_image_score_never_rises_with_min_area():
    anomaly_map = MAPS["smooth"](np.random.default_rng(3), (20, 20))
    scores = [image_score(anomaly_map, area) for area in range(1, 401, 7)]
    assert all(a >= b for a, b in pairwise(scores))


def test_image_score_ignores_the_memory_layout():
    anomaly_map = MAPS["smooth"](np.random.default_rng(1), (30, 20))
    assert image_score(anomaly_map.T, 9) == image_score(anomaly_map, 9)
    assert image_score(anomaly_map[::-1, ::-1], 9) == image_score(anomaly_map, 9)


def test_image_score_leaves_the_map_alone():
    anomaly_map = MAPS["smooth"](np.random.default_rng(1), (30, 20))
    before = anomaly_map.copy()
    image_score(anomaly_map, 5)
    assert np.array_equal(anomaly_map, before)


def test_diagonal_neighbours_are_connected():
    anomaly_map = np.eye(4)
    assert image_score(anomaly_map, 4) == 1
    assert image_score(anomaly_map, 5) == 0


def test_score_comes_from_the_larger_of_two_peaks_and_not_the_higher():
    anomaly_map = np.zeros((20, 20))
    anomaly_map[2:4, 2:4] = 0.9
    anomaly_map[10:14, 10:14] = 0.6
    assert image_score(anomaly_map, 4) == 0.9
    assert image_score(anomaly_map, 5) == 0.6
    assert image_score(anomaly_map, 16) == 0.6
    assert image_score(anomaly_map, 17) == 0


@pytest.mark.parametrize("function", [image_score, lambda m, a: anomaly_mask(m, 0.5, a)])
@pytest.mark.parametrize("min_area", [-1, 0, 13])
def test_min_area_out_of_range(function, min_area):
    with pytest.raises(ValueError, match=rf"Expected 1 … 12 .*Received: min_area={min_area}"):
        function(np.zeros((3, 4)), min_area)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_map_must_be_finite(value):
    anomaly_map = np.zeros((3, 4), np.float32)
    anomaly_map[1, 1] = value
    with pytest.raises(ValueError, match="in 1 pixels"):
        image_score(anomaly_map, 1)


@pytest.mark.parametrize("shape", [(4,), (2, 2, 1), (0, 3)])
def test_map_must_be_two_dimensional(shape):
    with pytest.raises(ValueError, match=r"shape \(H, W\)"):
        image_score(np.zeros(shape), 1)


def test_mask_equals_brute_force_and_agrees_with_the_score(make_map):
    rng = np.random.default_rng(0)
    for _ in range(6):
        anomaly_map = make_map(rng, (14, 19))
        levels = np.unique(anomaly_map)
        between = (levels[:-1] + levels[1:]) / 2
        candidates = np.concatenate([levels, between, [levels[0] - 1, levels[-1] + 1]])
        for threshold in rng.choice(candidates, 6):
            for min_area in (1, 4, 40, anomaly_map.size):
                mask = anomaly_mask(anomaly_map, threshold, min_area)
                assert mask.dtype == bool
                assert np.array_equal(mask, brute_force_mask(anomaly_map, threshold, min_area))
                assert mask.any() == is_anomalous(image_score(anomaly_map, min_area), threshold)


def test_mask_and_score_agree_where_the_threshold_is_no_float32():
    anomaly_map = np.full((4, 4), 0.1, np.float32)  # A little more than 0.1.
    assert is_anomalous(image_score(anomaly_map, 16), 0.1)
    assert anomaly_mask(anomaly_map, 0.1, 16).all()


def test_mask_is_empty_at_the_score_itself():
    anomaly_map = MAPS["float32"](np.random.default_rng(5), (40, 40))
    score = image_score(anomaly_map, 20)
    assert not anomaly_mask(anomaly_map, score, 20).any()
    assert anomaly_mask(anomaly_map, np.nextafter(score, -1), 20).sum() >= 20


def test_calibrate_is_the_largest_score_and_normal_at_it():
    threshold = calibrate(np.array([0.2, 0.5, 0.1], np.float32))
    assert threshold == 0.5
    assert type(threshold) is float
    assert not is_anomalous(0.5, threshold)
    assert is_anomalous(np.nextafter(0.5, 1), threshold)


def test_calibrate_takes_one_score_or_a_generator():
    assert calibrate([0.3]) == 0.3
    assert calibrate(x / 10 for x in range(4)) == 0.3


def test_calibrate_stays_above_the_lowest_threshold():
    assert calibrate([0.1, 0.3], lowest=0.5) == 0.5
    assert calibrate([0.1, 0.7], lowest=0.5) == 0.7


class TestOutline:
    """A defect ends at a share of its own peak (full width at half maximum)."""

    def test_by_hand(self):
        map_ = np.float32(
            [
                [0.3, 0.9, 0.6, 0.4, 0.6, 0.0],
                [0.5, 0.4, 0.0, 0.0, 0.0, 0.2],
                [0.0, 0.0, 0.0, 0.1, 0.3, 0.2],
            ]
        )
        # The upper component, from the peak of 0.9, ends at 0.45: before 0.4, behind which 0.6 is
        # another hill. The lower one, of a single pixel above 0.25, grows to 0.15.
        expected = np.array(
            [
                [0, 1, 1, 0, 0, 0],
                [1, 0, 0, 0, 0, 1],
                [0, 0, 0, 0, 1, 1],
            ],
            bool,
        )
        np.testing.assert_array_equal(anomaly_mask(map_, 0.25, 1, 0.5), expected)
        upper, lower = defects(map_, 0.25, 1, 0.5)
        assert (upper.box, upper.area, lower.box, lower.area) == ((0, 0, 3, 2), 3, (4, 1, 2, 2), 3)
        # Of two pixels at least, the lower one is none.
        assert len(defects(map_, 0.25, 2, 0.5)) == 1

    @pytest.mark.parametrize("width", [3.0, 8.0])
    @pytest.mark.parametrize("threshold", [0.05, 0.3, 0.7])
    def test_a_gaussian_hill_ends_at_half_its_height_whatever_the_threshold(self, width, threshold):
        y, x = np.mgrid[-30:31, -40:41]
        map_ = 0.8 * np.exp(-(y**2 + x**2) / (2 * width**2))
        expected = y**2 + x**2 <= 2 * np.log(2) * width**2
        np.testing.assert_array_equal(anomaly_mask(map_, threshold, 1, 0.5), expected)

    @pytest.mark.parametrize("name", sorted(set(MAPS) - {"negative"}))
    @pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
    def test_matches_scipy_labels(self, name, share):
        map_ = MAPS[name](np.random.default_rng(5), (40, 50)).astype(np.float32)
        threshold = np.quantile(map_, 0.9)
        expected = np.zeros(map_.shape, bool)
        labels, count = ndimage.label(map_ > threshold, EIGHT)
        for peak in map(tuple, ndimage.maximum_position(map_, labels, range(1, count + 1))):
            between = (map_ >= share * map_[peak]) & (map_ <= map_[peak])
            hills, _ = ndimage.label(between, EIGHT)
            expected |= hills == hills[peak]
        np.testing.assert_array_equal(anomaly_mask(map_, threshold, 1, share), expected)

    def test_never_changes_the_verdict(self):
        rng = np.random.default_rng(3)
        map_ = ndimage.gaussian_filter(rng.random((40, 50)), 2)
        for threshold in np.quantile(map_, [0.5, 0.9, 0.99]):
            for min_area in (1, 10, 100):
                for outline in (0.2, 0.5, 0.98, 1.0):
                    mask = anomaly_mask(map_, threshold, min_area, outline)
                    assert mask.any() == (image_score(map_, min_area) > threshold)

    def test_a_flat_map_is_one_defect_or_none(self):
        flat = np.full((5, 7), 0.5, np.float32)
        assert anomaly_mask(flat, 0.25, 35, 0.5).all()
        assert not anomaly_mask(flat, 0.5, 1, 0.5).any()

    @pytest.mark.parametrize("outline", [0.0, -0.5, 1.01])
    def test_what_is_no_share_is_refused(self, outline):
        with pytest.raises(InputError, match="a share of the peak above 0, up to 1"):
            anomaly_mask(np.ones((4, 5)), 0.5, 1, outline)


@pytest.mark.parametrize("scores", [[], [0.1, np.nan], [np.nan, 0.1]])
def test_calibrate_rejects(scores):
    with pytest.raises(ValueError, match="Expected"):
        calibrate(scores)


def test_defects_by_hand():
    anomaly_map = np.zeros((8, 10))
    anomaly_map[1:3, 2:5] = [[0.4, 0.5, 0.6], [0.4, 0.4, 0.7]]
    anomaly_map[5, 7] = anomaly_map[6, 8] = 0.9
    anomaly_map[7, 0] = 1.0
    first, second = defects(anomaly_map, 0.3, min_area=2)
    assert (first.box, first.area, first.peak) == ((7, 5, 2, 2), 2, 0.9)
    assert (second.box, second.area, second.peak) == ((2, 1, 3, 2), 6, 0.7)
    assert first.mean == pytest.approx(0.9)
    assert second.mean == pytest.approx(0.5)


def test_defects_cover_the_mask():
    anomaly_map = MAPS["float32"](np.random.default_rng(2), (40, 50))
    threshold = float(np.quantile(anomaly_map, 0.8))
    found = defects(anomaly_map, threshold, 10)
    mask = anomaly_mask(anomaly_map, threshold, 10)
    assert len(found) > 2
    assert sum(defect.area for defect in found) == mask.sum()
    assert sum(defect.area * defect.mean for defect in found) == pytest.approx(
        anomaly_map[mask].sum(dtype=np.float64)
    )
    assert found[0].peak == anomaly_map.max()
    assert [d.peak for d in found] == sorted((d.peak for d in found), reverse=True)


def test_defects_of_equal_peak_keep_one_order():
    anomaly_map = np.zeros((3, 9))
    anomaly_map[1, [0, 4, 8]] = 1
    assert [defect.box[0] for defect in defects(anomaly_map, 0.5, 1)] == [0, 4, 8]


def test_no_defects():
    assert defects(np.zeros((4, 4)), 0, 1) == []
    assert defects(np.eye(4), 0, 5) == []


def test_defect_goes_through_json():
    (defect,) = defects(np.eye(3, dtype=np.float32), 0.5, 1)
    assert json.loads(json.dumps(defect.to_dict())) == {
        "box": [0, 0, 3, 3],
        "area": 3,
        "peak": 1.0,
        "mean": 1.0,
    }


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), 52),
        ((1024, 1024), 210),
        ((300, 400), 24),
        ((8, 8), 1),
        # The disc of radius 4 √(2 ln 2) = 4.71 has 69.7 pixels.
        ((512, 512, 4.0), 70),
        ((1024, 1024, 4.0), 210),
        ((8, 8, 4.0), 64),
    ],
)
def test_default_min_area(size, expected):
    assert default_min_area(*size) == expected


@pytest.mark.parametrize("level", [np.nan, np.inf, -np.inf, None, "0.1"])
def test_levels_that_nothing_exceeds_are_refused(level):
    map_ = np.ones((4, 5))
    for call in (
        lambda: anomaly_mask(map_, level, 1),
        lambda: anomaly_mask(map_, 0.5, 1, outline=level if level is not None else np.nan),
        lambda: is_anomalous(0.5, level),
        lambda: is_anomalous(level, 0.5),
        lambda: calibrate([0.5], lowest=level),
    ):
        with pytest.raises(InputError, match="Expected a finite number"):
            call()
    with pytest.raises(ValueError, match="Expected a finite number"):
        is_anomalous(0.5, level)


@pytest.mark.parametrize(
    ("map_", "min_area"),
    [(np.full((2, 2), "a"), 1), (np.ones((2, 2), complex), 1), (np.ones((2, 2)), 1.5)],
)
def test_arguments_of_other_types_are_refused(map_, min_area):
    with pytest.raises(InputError, match="Expected"):
        image_score(map_, min_area)


def test_threshold_of_a_rank_is_the_kth_largest_score() -> None:
    scores = [0.3, 0.9, 0.1, 0.5]
    assert [calibrate(scores, rank=k) for k in (1, 2, 4)] == [0.9, 0.5, 0.1]
    assert calibrate(scores, lowest=0.6, rank=2) == 0.6
