"""From a folder to what training takes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ssae_tf import config as config_module
from ssae_tf.data.mvtec import load_category
from ssae_tf.preparation import prepare
from stand_ins import Listener


@pytest.mark.parametrize(("count", "few"), [(1, True), (4, True), (11, True), (16, False)])
def test_few_images_are_trained_without_relief_and_normalised_one_by_one(
    count: int, few: bool, tmp_path: Path
) -> None:
    for number in range(count):
        pixels = np.full((32, 32, 3), 10 * number, np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{number:02}.png"), pixels)
    listener = Listener()
    prepared = prepare(load_category(tmp_path), config_module.preset("quick"), listener)
    assert prepared.config.corruption.relief == (0.0 if few else 0.4)
    assert prepared.config.model.normalization == ("group" if few else None)
    assert any("without relief" in line for line in listener.said) == few
    # A run that is taken up again has it in its settings.
    again = prepare(load_category(tmp_path), prepared.config, Listener())
    assert again.config == prepared.config


@pytest.mark.parametrize(("side", "is_told"), [(1500, True), (300, False)])
def test_what_large_images_lose_is_said_before_training(
    side: int, is_told: bool, tmp_path: Path
) -> None:
    for number in range(3):
        pixels = np.full((side, side, 3), 10 * number, np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
    listener = Listener()
    prepared = prepare(load_category(tmp_path), config_module.preset("quick"), listener)
    sentence = "Images of 1500 × 1500 are inspected at 256 × 256"
    assert any(line.startswith(sentence) for line in listener.said) == is_told
    assert any("scoring.inspection_size=[512,512]" in line for line in listener.said) == is_told
    # Training takes whole images, and keeps no more of them.
    assert {image.shape[:2] for image in prepared.train.images} == {(256, 256)}
    # 0.8 % of the inspection size's side, whatever the file's.
    assert prepared.config.scoring.sigma == 2.0


def test_large_images_at_their_own_size_have_a_warning(tmp_path: Path) -> None:
    for number in range(3):
        pixels = np.full((1500, 1500, 3), 10 * number, np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
    config = config_module.override(
        config_module.preset("quick"), {"scoring.inspection_size": "native"}
    )
    listener = Listener()
    prepared = prepare(load_category(tmp_path), config, listener)
    assert any("at their own size: 34 times the pixels" in line for line in listener.warned)
    assert not any("scoring.inspection_size" in line for line in listener.said)
    # 0.8 % of the file's side, though training keeps a smaller image.
    assert prepared.config.scoring.sigma == 12.0
