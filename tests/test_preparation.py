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
