"""Before a comparison, its images are counted aloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ssae_tf.data.images import write_png
from ssae_tf.export.parity import cases, what_is_compared


@pytest.mark.parametrize("image_size", [None, (32, 40)])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_the_images_of_a_comparison_are_counted(
    count: int, image_size: tuple[int, int] | None, tmp_path: Path, rng: np.random.Generator
) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(count)]
    for path in paths:
        write_png(path, rng.integers(0, 256, (32, 40, 3), np.uint8))
    sentence = what_is_compared(count, image_size is None)
    assert f" on {len(cases(paths, 255, image_size))} images: {count} good" in sentence
    assert ("at another size" in sentence) == (image_size is None)


def test_one_image_is_one() -> None:
    assert what_is_compared(1, False).endswith("on 2 images: 1 good one, 1 corrupted copy.")
