"""What int8 is calibrated on: the run's own images as they are and corrupted, all of one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ssae_tf.data.images import write_png
from ssae_tf.export.calibration_set import read_resized, write_calibration_set


@pytest.mark.parametrize("image_size", [None, (16, 24)])
def test_calibration_set(
    image_size: tuple[int, int] | None, tmp_path: Path, rng: np.random.Generator
) -> None:
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    contents = [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in ((40, 64), (64, 32))]
    for path, content in zip(paths, contents, strict=True):
        write_png(path, content)
    images = [np.round(255.0 * read_resized(path, 65535, image_size)) for path in paths]
    examples = [image.astype(np.uint8) for image in images]
    written = [np.load(path) for path in write_calibration_set(tmp_path / "set", examples, 3)]
    # The converter prepares itself for one size, here what both images have.
    assert {one.shape for one in written} == {(*(image_size or (40, 32)), 3)}
    assert {one.dtype for one in written} == {np.dtype(np.uint8)}
    assert len(written) == 4
    if image_size is None:
        np.testing.assert_array_equal(written[0], contents[0][:, :32])
        np.testing.assert_array_equal(written[2], contents[1][:40])
    for normal, corrupted in (written[:2], written[2:]):
        changed = (normal != corrupted).any(axis=-1).mean()
        assert 0.0 < changed < 1.0
