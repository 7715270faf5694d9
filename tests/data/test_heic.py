"""HEIC: right way up, in its own depth, and one sentence where it can't be read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ssae_tf.data import images
from ssae_tf.errors import DataError, ImageTooLargeError

LOSSLESS = {"quality": -1, "chroma": 444}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.heic"


@pytest.fixture
def pixels() -> np.ndarray:
    y, x = np.mgrid[:48, :64]
    return np.stack([4 * x, 5 * y, 2 * (x + y)], -1).astype(np.uint8)


@pytest.mark.skipif(images.HAS_HEIC, reason="pillow-heif is installed")
def test_without_its_reader_says_what_to_install(path: Path) -> None:
    path.write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 12)
    with pytest.raises(DataError) as caught:
        images.read_pixels(path)
    assert str(caught.value) == (
        f"{path}: an image in HEIC needs pillow-heif: pip install 'ssae-tf[heic]'."
    )
    assert not images.is_image_name(path)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_colour_grey_and_alpha(mode: str, path: Path, pixels: np.ndarray) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    image = Image.fromarray(pixels).convert(mode)
    pillow_heif.from_pillow(image).save(path, **LOSSLESS)
    read = images.read_pixels(path)
    assert images.is_image_name(path)
    assert read.dtype == np.uint8
    # Its colours are YCbCr of 8 bits.
    np.testing.assert_allclose(read, np.asarray(image.convert("RGB"), int), atol=2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_is_upright(orientation: int, path: Path, pixels: np.ndarray) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    size = (pixels.shape[1], pixels.shape[0])
    heic = pillow_heif.from_bytes("RGB", size, pixels.tobytes())
    # It is written as the container's own rotation and mirroring.
    heic.save(path, exif=exif.tobytes(), **LOSSLESS)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(png)), int)
    np.testing.assert_allclose(images.read_pixels(path), expected, atol=2)


@pytest.mark.parametrize("bits", [10, 12])
def test_more_than_8_bits(
    bits: int, path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    deep = np.repeat(257 * pixels[..., :1].astype(np.uint16), 3, axis=-1)
    deep[0, :8] = 65535
    heic = pillow_heif.from_bytes("RGB;16", (pixels.shape[1], pixels.shape[0]), deep.tobytes())
    heic.save(path, **LOSSLESS)
    read = images.read_pixels(path)
    assert read.dtype == np.uint16
    assert read.max() == 65535
    np.testing.assert_allclose(read, deep.astype(int), atol=3 * 2 ** (16 - bits))


def test_too_large_and_truncated_ones_are_refused(path: Path, pixels: np.ndarray) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(path, **LOSSLESS)
    with pytest.raises(ImageTooLargeError, match=r"64×48 pixels are 3,072, the limit is 100\."):
        images.read_pixels(path, max_pixels=100)
    whole = path.read_bytes()
    for length in range(12, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="the HEIC can't be decoded") as caught:
            images.read_pixels(path)
        assert "\n" not in str(caught.value)
