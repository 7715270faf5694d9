"""What is written as PNG: pixels and masks, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssae_tf.data import images
from ssae_tf.errors import InputError, WriteError

HEIGHT, WIDTH = 12, 20


def noise(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    high = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, high, shape, dtype, endpoint=True)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read_back(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "größe 検査.png"
    images.write_png(path, noise(channels))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), noise(channels))
    assert list(tmp_path.iterdir()) == [path]


def test_masks_are_written_as_0_and_255(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    mask = noise(1) > 127
    images.write_png(path, mask)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), mask * 255)
    np.testing.assert_array_equal(images.read_mask(path), mask)


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    images.write_png(tmp_path / "a.png", noise()[::-1, ::2])
    np.testing.assert_array_equal(images.read_pixels(tmp_path / "a.png"), noise()[::-1, ::2])


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", b"old")
    images.write_png(path, noise())
    assert images.image_size(path) == (HEIGHT, WIDTH)


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", b"")
    images.write_png(tmp_path / "a.png", noise())
    assert (tmp_path / "a.png").stat().st_mode == plain.stat().st_mode


def test_failing_to_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(WriteError, match=r"taken\.png: can't be written"):
        images.write_png(tmp_path / "taken.png", noise())
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.bool_),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"Expected .* Received"):
        images.write_png(tmp_path / "a.png", array)
    assert not list(tmp_path.iterdir())
