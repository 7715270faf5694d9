"""Metrics against scikit-learn, against brute force over thresholds, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import f1_score, recall_score, roc_auc_score

from ssae_tf.evaluation import metrics
from ssae_tf.evaluation.metrics import (
    PixelAccumulator,
    auroc,
    balanced_accuracy,
    f1,
    f1_from_counts,
    tpr_tnr,
)


def random_images(seed, count=4, levels=None, dtype=np.float32):
    """Images of different sizes: (map, true mask with several regions, predicted mask)."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        shape = tuple(rng.integers(8, 30, 2))
        truth = ndimage.gaussian_filter(rng.random(shape), 1.5) > 0.55
        anomaly_map = (rng.random(shape) + 0.4 * truth).astype(dtype)
        if levels:
            anomaly_map = (np.round(anomaly_map * levels) / levels).astype(dtype)
        images.append((anomaly_map, truth, anomaly_map > 0.8))
    return images


def accumulate(images):
    pixels = PixelAccumulator()
    for image in images:
        pixels.add(*image)
    return pixels


def flat(images, index):
    return np.concatenate([image[index].ravel() for image in images])


def brute_force_aupro(images, limit):
    """Area under the polygon of `brute_force_curve`."""
    fpr, pro = brute_force_curve(images)
    end = np.argmax(fpr >= limit)  # The first point there: the curve may rise vertically from it.
    share = (limit - fpr[end - 1]) / (fpr[end] - fpr[end - 1])
    x = np.append(fpr[:end], limit)
    y = np.append(pro[:end], pro[end - 1] + share * (pro[end] - pro[end - 1]))
    return np.sum(np.diff(x) * (y[:-1] + y[1:]) / 2) / limit


def brute_force_curve(images):
    """FPR and PRO at every threshold, one region at a time."""
    regions = []
    for anomaly_map, truth, _ in images:
        labels, count = ndimage.label(truth, np.ones((3, 3)))
        regions += [anomaly_map[labels == i] for i in range(1, count + 1)]
    normal = np.concatenate([m[~truth] for m, truth, _ in images])
    levels = np.unique(flat(images, 0))[::-1]
    fpr = np.array([0, *((normal >= t).mean() for t in levels)])
    pro = np.array([0, *(np.mean([(r >= t).mean() for r in regions]) for t in levels)])
    return fpr, pro


@pytest.mark.parametrize("levels", [None, 3])
def test_auroc_equals_sklearn(levels):
    rng = np.random.default_rng(0)
    for _ in range(10):
        labels = rng.permutation([True] * 5 + [False] * 12)
        scores = rng.random(17) + 0.2 * labels
        scores = np.round(scores * levels) if levels else scores
        assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([0, 1], [0.1, 0.2], 1.0),
        ([0, 1], [0.2, 0.1], 0.0),
        ([0, 1], [0.2, 0.2], 0.5),
        ([0, 0, 1], [1, 3, 2], 0.5),
        ([1, 1], [0.2, 0.1], None),
        ([0], [0.2], None),
        ([], [], None),
    ],
)
def test_auroc_by_hand(labels, scores, expected):
    assert auroc(labels, scores) == expected


def test_rates_equal_sklearn():
    rng = np.random.default_rng(1)
    labels, verdicts = rng.random((2, 40)) > 0.4
    tpr, tnr = tpr_tnr(labels, verdicts)
    assert tpr == pytest.approx(recall_score(labels, verdicts))
    assert tnr == pytest.approx(recall_score(labels, verdicts, pos_label=0))
    assert balanced_accuracy(labels, verdicts) == pytest.approx((tpr + tnr) / 2)
    assert f1(labels, verdicts) == pytest.approx(f1_score(labels, verdicts))


@pytest.mark.parametrize(
    ("labels", "verdicts", "rates", "mean", "expected_f1"),
    [
        ([1, 1, 0, 0], [1, 0, 0, 0], (0.5, 1.0), 0.75, 2 / 3),
        ([1], [0], (0.0, None), None, 0.0),
        ([1], [1], (1.0, None), None, 1.0),
        ([0, 0], [1, 0], (None, 0.5), None, None),
        ([0], [0], (None, 1.0), None, None),
        ([], [], (None, None), None, None),
    ],
)
def test_rates_by_hand(labels, verdicts, rates, mean, expected_f1):
    assert tpr_tnr(labels, verdicts) == rates
    assert balanced_accuracy(labels, verdicts) == mean
    assert f1(labels, verdicts) == expected_f1


def test_f1_from_counts():
    assert f1_from_counts(3, 1, 2) == 6 / 9
    assert f1_from_counts(0, 5, 0) is None
    assert f1_from_counts(0, 0, 0) is None


def test_scores_must_not_be_nan():
    with pytest.raises(ValueError, match="NaN"):
        auroc([True, False], [0.5, np.nan])


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pixel_metrics_equal_sklearn(levels, dtype):
    images = random_images(2, levels=levels, dtype=dtype)
    pixels = accumulate(images)
    scores, truth, predicted = (flat(images, i) for i in range(3))
    assert pixels.auroc() == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert pixels.f1() == pytest.approx(f1_score(truth, predicted), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 10, 3, 1])
@pytest.mark.parametrize("limit", [0.01, 0.3, 1.0])
def test_aupro_equals_brute_force(levels, limit, monkeypatch):
    monkeypatch.setattr(metrics, "AUPRO_FPR_LIMIT", limit)
    for seed in range(3):
        images = random_images(seed, levels=levels)
        expected = brute_force_aupro(images, limit)
        assert accumulate(images).aupro() == pytest.approx(expected, abs=1e-9)


def test_aupro_weighs_regions_and_not_pixels():
    """A region of 9 pixels found in full and one of 1 pixel missed: half, at any limit."""
    anomaly_map, truth = np.zeros((10, 10), np.float32), np.zeros((10, 10), bool)
    truth[1:4, 1:4] = truth[8, 8] = True
    anomaly_map[1:4, 1:4] = 1
    anomaly_map[8, 8] = -1
    pixels = accumulate([(anomaly_map, truth, truth)])
    assert pixels.aupro() == pytest.approx((1 / 2 + 1 / 2 * 0) / 1)
    assert pixels.auroc() == pytest.approx(0.9)


def test_aupro_interpolates_inside_a_tie_at_the_limit():
    """All pixels tie: the curve is the diagonal, and its area up to l is l / 2 after division."""
    truth = np.zeros((6, 6), bool)
    truth[2, 2] = True
    pixels = accumulate([(np.zeros((6, 6), np.float32), truth, truth)])
    assert pixels.aupro() == pytest.approx(0.15)
    assert pixels.auroc() == pytest.approx(0.5)


@pytest.mark.parametrize("levels", [None, 10, 1])
def test_overlap_curve_equals_brute_force(levels):
    images = random_images(4, levels=levels)
    curve = accumulate(images).overlap_curve()
    fpr, pro = brute_force_curve(images)
    for level, overlap in curve[1:]:
        # Where the curve rises vertically its upper end counts.
        last = np.searchsorted(fpr, level, side="right")
        known = fpr[:last], pro[:last]
        if last < len(fpr):
            known = fpr[: last + 1], pro[: last + 1]
        assert overlap == pytest.approx(np.interp(level, *known), abs=1e-9)
    assert (curve[0, 0], curve[-1, 0]) == (0, pytest.approx(0.3))


def test_the_overlap_curve_changes_no_figure():
    images = random_images(5)
    before, after = accumulate(images), accumulate(images)
    after.overlap_curve()
    assert (after.auroc(), after.aupro()) == (before.auroc(), before.aupro())
    after.add(*images[0])
    twice = accumulate([*images, images[0]])
    np.testing.assert_array_equal(after.overlap_curve(), twice.overlap_curve())


def test_a_perfect_map_has_the_whole_overlap_at_once():
    truth = np.zeros((6, 6), bool)
    truth[2:4, 2] = True
    curve = accumulate([(truth.astype(np.float32), truth, truth)]).overlap_curve()
    np.testing.assert_array_equal(curve[:, 1], 1)
    assert (
        accumulate([(np.zeros((6, 6), np.float32), truth & False, truth)]).overlap_curve() is None
    )


def test_diagonal_pixels_are_one_region():
    """As two regions, the found one of three pixels would count 1/3 and not 1/2."""
    truth = np.zeros((4, 8), bool)
    truth[[0, 1], [0, 1]] = truth[3, 6] = True
    anomaly_map = np.zeros((4, 8), np.float32)
    anomaly_map[3, 6] = 1
    anomaly_map[[0, 1], [0, 1]] = -1
    assert accumulate([(anomaly_map, truth, truth)]).aupro() == pytest.approx(0.5)


def test_perfect_maps():
    truth = np.zeros((5, 5), bool)
    truth[0, 0] = True
    pixels = accumulate([(truth.astype(np.float32), truth, truth)])
    assert (pixels.auroc(), pixels.aupro(), pixels.f1()) == (1.0, pytest.approx(1.0), 1.0)


def test_undefined_without_defects_or_without_normal_pixels():
    anomaly_map = np.random.default_rng(0).random((4, 4), np.float32)
    none, everything = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    for pixels in (PixelAccumulator(), accumulate([(anomaly_map, none, everything)])):
        assert (pixels.auroc(), pixels.aupro(), pixels.f1()) == (None, None, None)
    pixels = accumulate([(anomaly_map, everything, everything)])
    assert (pixels.auroc(), pixels.aupro(), pixels.f1()) == (None, None, 1.0)


def test_merged_parts_equal_the_whole_and_stay_usable():
    images = random_images(4, count=6, levels=20)
    parts = [accumulate(images[:2]), accumulate(images[2:5]), accumulate(images[5:])]
    whole, merged = accumulate(images), PixelAccumulator.merge(*parts)
    before = [part.aupro() for part in parts]
    assert merged.auroc() == pytest.approx(whole.auroc(), abs=1e-12)
    assert merged.aupro() == pytest.approx(whole.aupro(), abs=1e-12)
    assert merged.f1() == whole.f1()
    merged.add(*images[0])
    assert [part.aupro() for part in parts] == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_pixels_are_packed_without_loss(monkeypatch, dtype):
    """The same figures, with negative values and zeros of either sign among them."""
    images = random_images(6, count=5, levels=50, dtype=dtype)
    images = [(map_ - dtype(0.7), truth, judged) for map_, truth, judged in images]
    images[0][0][0, :4] = 0.0, -0.0, 1e-40, -1e30
    whole = accumulate(images)
    monkeypatch.setattr(metrics, "_BLOCK", 300)
    monkeypatch.setattr(metrics, "_RANKED", 20)
    packed = accumulate(images)
    blocks = PixelAccumulator.merge(packed)._blocks
    assert sum(bool(block._packed) for block in blocks) >= 3
    assert len(list(packed._parts())) >= 3
    values = np.sort(np.concatenate([block.values for block in blocks]))
    negative = np.concatenate([map_[~truth] for map_, truth, _ in images])
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, np.sort(negative))
    assert packed.auroc() == pytest.approx(whole.auroc(), abs=1e-12)
    assert packed.aupro() == pytest.approx(whole.aupro(), abs=1e-12)


def test_packed_maps_take_a_third(rng):
    """64 images of 512² at a time."""
    values = np.abs(rng.standard_normal(2**24)).astype(np.float32)
    assert len(metrics._Block(values)._packed) < values.nbytes / 3


def test_images_may_be_added_after_a_figure_was_read():
    images = random_images(5)
    pixels = accumulate(images[:2])
    pixels.auroc()
    for image in images[2:]:
        pixels.add(*image)
    assert pixels.auroc() == pytest.approx(accumulate(images).auroc(), abs=1e-12)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\), \(3, 2\) and \(2, 3\)"):
        PixelAccumulator().add(np.zeros((2, 3)), np.zeros((3, 2)), np.zeros((2, 3)))


def test_map_must_not_have_nan():
    with pytest.raises(ValueError, match="NaN"):
        PixelAccumulator().add(np.full((2, 2), np.nan), np.eye(2), np.eye(2))
