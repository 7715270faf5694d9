"""The protocol: what `metrics.json` holds, per kind and in total, and when it is null."""

from __future__ import annotations

import json
import weakref

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ssae_tf.evaluation.protocol import Evaluation, ImageResult
from stand_ins import FIGURES

COUNTS = {"n_test", "n_defective", "n_without_mask"}


def result(kind, score, *, threshold=0.5, mask="square", shape=(8, 9), seed=0):
    """A result with a random map whose defect, if any, is a 3 × 3 square a little brighter."""
    truth = np.zeros(shape, bool)
    if kind != "good" and mask == "square":
        truth[2:5, 3:6] = True
    anomaly_map = np.random.default_rng(seed).random(shape, np.float32) + 0.3 * truth
    return ImageResult(
        path=f"test/{kind}/{seed:03}.png",
        kind=kind,
        score=score,
        is_anomalous=score > threshold,
        anomaly_map=anomaly_map.astype(np.float32),
        predicted_mask=anomaly_map > 0.9,
        true_mask=None if mask is None else truth,
    )


def summarize(results, threshold, min_area):
    """The metrics of some results, one per test image, in any order."""
    evaluation = Evaluation()
    for one in results:
        evaluation.add(one)
    return evaluation.metrics(threshold, min_area)


@pytest.fixture
def results():
    return [
        result("scratch", 0.9, seed=1),
        result("good", 0.2, seed=2),
        result("dent", 0.4, seed=3, shape=(12, 7)),
        result("good", 0.6, seed=4, shape=(6, 6)),
        result("scratch", 0.7, seed=5),
        result("dent", 0.8, seed=6),
        result("good", 0.1, seed=7),
    ]


def test_image_figures_by_hand(results):
    metrics = summarize(results, 0.5, 3)
    assert metrics["tpr"] == 3 / 4
    assert metrics["tnr"] == pytest.approx(2 / 3)
    assert metrics["balanced_accuracy"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert metrics["f1_image"] == 2 * 3 / (2 * 3 + 1 + 1)
    assert metrics["image_auroc"] == pytest.approx(11 / 12)
    assert metrics["kinds"]["scratch"]["image_auroc"] == 1
    assert metrics["kinds"]["dent"]["image_auroc"] == pytest.approx(5 / 6)
    assert metrics["kinds"]["dent"]["tpr"] == 1 / 2
    assert metrics["kinds"]["dent"]["tnr"] == pytest.approx(2 / 3)


def test_keys_and_counts_and_plain_types(results):
    metrics = summarize(results, np.float32(0.5), np.int64(3))
    top = {"schema_version", "threshold", "min_area", "kinds"}
    assert metrics.keys() == FIGURES | COUNTS | top
    assert (metrics["schema_version"], metrics["threshold"], metrics["min_area"]) == (1, 0.5, 3)
    assert (metrics["n_test"], metrics["n_defective"], metrics["n_without_mask"]) == (7, 4, 0)
    assert list(metrics["kinds"]) == ["dent", "scratch"]
    for figures in metrics["kinds"].values():
        assert figures.keys() == FIGURES | COUNTS
        assert (figures["n_test"], figures["n_defective"]) == (5, 2)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


@pytest.mark.parametrize("kind", ["dent", "scratch"])
def test_a_kind_is_measured_against_all_good_images(results, kind):
    own = [r for r in results if r.kind in ("good", kind)]
    alone = summarize(own, 0.5, 3)
    figures = summarize(results, 0.5, 3)["kinds"][kind]
    assert figures == {key: alone[key] for key in FIGURES | COUNTS}
    truth = np.concatenate([r.true_mask.ravel() for r in own])
    values = np.concatenate([r.anomaly_map.ravel() for r in own])
    assert figures["pixel_auroc"] == pytest.approx(roc_auc_score(truth, values), abs=1e-12)


def test_maps_are_not_kept(results):
    evaluation = Evaluation()
    watched = []
    while results:
        one = results.pop()
        watched += [weakref.ref(one.anomaly_map), weakref.ref(one.true_mask)]
        evaluation.add(one)
    del one
    assert not any(watching() is not None for watching in watched)
    assert [verdict.path for verdict in evaluation.verdicts][:2] == [
        "test/good/007.png",
        "test/dent/006.png",
    ]


def test_order_of_images_does_not_matter(results):
    forth, back = summarize(results, 0.5, 3), summarize(results[::-1], 0.5, 3)
    for key in FIGURES | COUNTS:
        assert forth[key] == pytest.approx(back[key], abs=1e-12)
    assert list(forth["kinds"]) == list(back["kinds"])


def test_images_without_mask_are_left_out_of_pixel_figures_and_counted(results):
    with_more = [*results, result("dent", 0.9, mask=None, seed=8)]
    before, after = summarize(results, 0.5, 3), summarize(with_more, 0.5, 3)
    for key in ("pixel_auroc", "aupro", "f1_pixel"):
        assert after[key] == before[key]
        assert after["kinds"]["dent"][key] == before["kinds"]["dent"][key]
    assert after["tpr"] == 4 / 5
    assert after["n_without_mask"] == after["kinds"]["dent"]["n_without_mask"] == 1
    assert after["kinds"]["scratch"]["n_without_mask"] == 0


def test_no_masks_left(results):
    bare = [r for r in results if r.kind == "good"] + [result("dent", 0.9, mask=None)]
    metrics = summarize(bare, 0.5, 3)
    for figures in (metrics, metrics["kinds"]["dent"]):
        assert [figures[key] for key in ("pixel_auroc", "aupro", "f1_pixel")] == [None] * 3
        assert figures["image_auroc"] == 1


def test_only_good_images():
    metrics = summarize([result("good", 0.1), result("good", 0.7)], 0.5, 3)
    assert metrics["tnr"] == 1 / 2
    assert {key for key in FIGURES if metrics[key] is not None} == {"tnr"}
    assert metrics["kinds"] == {}
    assert json.dumps(metrics, allow_nan=False)


def test_only_defective_images():
    metrics = summarize([result("dent", 0.9)], 0.5, 3)
    assert (metrics["tpr"], metrics["f1_image"]) == (1, 1)
    assert [metrics[k] for k in ("tnr", "balanced_accuracy", "image_auroc")] == [None] * 3
    assert metrics["pixel_auroc"] is not None
    assert metrics["kinds"]["dent"]["n_test"] == 1


def test_good_image_may_come_without_mask(results):
    without = [
        result("good", r.score, mask=None, shape=r.anomaly_map.shape, seed=int(r.path[-7:-4]))
        if r.kind == "good"
        else r
        for r in results
    ]
    assert summarize(without, 0.5, 3) == summarize(results, 0.5, 3)
