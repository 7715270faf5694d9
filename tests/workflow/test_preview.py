"""Preview."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssae_tf import preview as preview_module
from ssae_tf.config import from_dict
from ssae_tf.data.mvtec import load_category
from stand_ins import Listener


def test_preview_shows_images_as_training_corrupts_them(
    sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    def draw(path: Path, columns: dict[str, Any]) -> None:
        drawn.update(columns, path=path)

    monkeypatch.setattr(preview_module, "write_grid", draw)
    stage = {"size": 32, "batch_size": 1, "steps": 1}
    config = from_dict({"training": {"stages": [stage]}})
    path = preview_module.preview(
        sample_root, "tile", config, tmp_path / "out", rows=3, reporter=Listener()
    )
    assert path == drawn.pop("path") == tmp_path / "out" / "preview.png"
    x, x_hat, mask, difference = drawn.values()
    assert x.shape == x_hat.shape == (3, 32, 32, 3)
    assert mask.shape == difference.shape == (3, 32, 32)
    for index in range(3):
        assert mask[index].any()
        assert difference[index].max() > 0
        np.testing.assert_array_equal(x[index][~mask[index]], x_hat[index][~mask[index]])
    np.testing.assert_allclose(difference, np.abs(x_hat - x).mean(axis=-1), atol=1e-6)
    category = load_category(sample_root, "tile")
    whole = [cv2.imread(str(sample.path))[..., ::-1] for sample in category.train[:3]]
    means = sorted(float(image.mean()) / 255 for image in whole)
    np.testing.assert_allclose(sorted(x.mean(axis=(1, 2, 3)).tolist()), means, atol=1e-3)
