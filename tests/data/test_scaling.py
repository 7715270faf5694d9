"""Pixels of 8 and 16 bits as float32 in [0, 1]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssae_tf.data import images
from ssae_tf.errors import InputError


def test_scaling_of_eight_bits() -> None:
    unit = images.to_unit(np.array([0, 51, 255], np.uint8), white_level=4095)
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(unit, np.array([0, 0.2, 1], np.float32))


def test_scaling_of_sixteen_bits() -> None:
    unit = images.to_unit(np.array([0, 13107, 65535], np.uint16))
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(unit, np.array([0, 0.2, 1], np.float32))


def test_twelve_bit_camera(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 819, 4095, 5000]], np.uint16)).save(path)
    image = images.read_image(path, white_level=4095)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[0, :, 1], np.array([0, 0.2, 1, 1], np.float32))


@pytest.mark.parametrize("white_level", [0, -1, 65536])
def test_white_level_out_of_range(white_level: int) -> None:
    with pytest.raises(InputError, match=r"white_level of 1 to 65535.*Received"):
        images.to_unit(np.zeros((1, 1, 3), np.uint16), white_level)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_only_pixels_are_scaled(dtype: type) -> None:
    with pytest.raises(InputError, match="Expected uint8 or uint16"):
        images.to_unit(np.zeros((1, 1, 3), dtype))
