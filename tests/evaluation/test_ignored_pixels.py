"""Pixel figures look at what counts, and at nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from ssae_tf.evaluation.metrics import PixelAccumulator
from ssae_tf.evaluation.protocol import GOOD, Evaluation, ImageResult


def figures(accumulator: PixelAccumulator) -> tuple[float | None, ...]:
    return accumulator.auroc(), accumulator.aupro(), accumulator.f1()


@pytest.fixture
def images(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Maps with true and predicted masks, with a defect across column 20 in each."""
    made = []
    for _ in range(3):
        truth = np.zeros((24, 40), np.bool_)
        truth[3:9, 15:27] = truth[14:18, 2:6] = truth[20:22, 30:38] = True
        map_ = rng.random((24, 40)).astype(np.float32) + 0.3 * truth
        made.append((map_, truth, map_ > 0.8))
    return made


def test_as_if_the_rest_were_cut_off(images: list[tuple[np.ndarray, ...]]) -> None:
    counted = np.zeros((24, 40), np.bool_)
    counted[:, :20] = True
    found, cropped, whole = PixelAccumulator(), PixelAccumulator(), PixelAccumulator()
    for map_, truth, predicted in images:
        found.add(map_, truth, predicted, counted)
        cropped.add(map_[:, :20], truth[:, :20], predicted[:, :20])
        whole.add(map_, truth, predicted)
    assert figures(found) == figures(cropped)
    assert all(a != b for a, b in zip(figures(found), figures(whole), strict=True))


def test_all_counting_changes_nothing(images: list[tuple[np.ndarray, ...]]) -> None:
    found, whole = PixelAccumulator(), PixelAccumulator()
    for image in images:
        found.add(*image, np.ones((24, 40), np.bool_))
        whole.add(*image)
    assert figures(found) == figures(whole)


def test_an_image_keeps_its_kind(images: list[tuple[np.ndarray, ...]]) -> None:
    """All of its defect is ignored: it has no defective pixel, and is a defective image still."""
    map_, truth, _ = images[0]
    none = np.zeros_like(truth)
    evaluation = Evaluation()
    evaluation.add(ImageResult("a", "dent", 0.0, False, map_, none, truth, ~truth))
    evaluation.add(ImageResult("b", GOOD, 0.0, False, map_, none, None))
    found = evaluation.metrics(0.5, 1)
    assert (found["n_defective"], found["tpr"], found["n_without_mask"]) == (1, 0.0, 0)
    assert (found["pixel_auroc"], found["aupro"], found["f1_pixel"]) == (None, None, None)
