"""Reading masks: what counts as a defect in the formats that tools write."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, UnidentifiedImageError

from ssae_tf.data import images, mvtec
from ssae_tf.data.masks import lossy_compression
from ssae_tf.data.mvtec import Sample


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="ssae_tf")
    return caplog


def drawn(mode: str = "L", colour: object = 255) -> Image.Image:
    """A thin line and a blot on an empty mask."""
    image = Image.new(mode, (160, 120))
    draw = ImageDraw.Draw(image)
    draw.line((10, 20, 90, 70), fill=colour, width=3)
    draw.ellipse((100, 60, 130, 90), fill=colour)
    return image


DRAWN = np.asarray(drawn()) > 0


@pytest.mark.parametrize(
    ("mode", "value"), [("L", 1), ("L", 255), ("1", 1), ("RGB", (0, 0, 1)), ("RGBA", (1, 0, 0, 0))]
)
def test_any_value_but_zero_is_defect(tmp_path: Path, mode: str, value: object) -> None:
    image = Image.new(mode, (5, 3))
    image.putpixel((4, 1), value)
    path = tmp_path / "m.png"
    image.save(path)
    mask = images.read_mask(path)
    expected = np.zeros((3, 5), bool)
    expected[1, 4] = True
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, expected)


def test_alpha_is_no_defect(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    Image.new("RGBA", (5, 3), (0, 0, 0, 255)).save(path)
    assert not images.read_mask(path).any()


def test_sixteen_bit_masks(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(np.array([[0, 1, 255, 256]], np.uint16)).save(path)
    assert images.read_mask(path).tolist() == [[False, True, True, True]]


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_every_label_is_defect(tmp_path: Path, mode: str, log) -> None:
    labels = np.zeros((3, 5), np.uint8)
    labels[0, :4] = 1, 2, 128, 255
    image = Image.fromarray(labels)
    if mode == "P":
        image = image.convert("P")
        image.putpalette([value for i in range(256) for value in (i, 0, i // 2)])
    (image if mode == "P" else image.convert(mode)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(images.read_mask(tmp_path / "m.png"), labels > 0)
    assert not log.records


# Compression with loss.


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 255), ("L", 120), ("RGB", (255, 255, 255)), ("RGB", (255, 0, 0))]
)
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_a_jpeg_keeps_its_area(
    tmp_path: Path, mode: str, colour: object, quality: int, log
) -> None:
    path = tmp_path / "m.png"
    drawn(mode, colour).save(path, "JPEG", quality=quality)
    mask = images.read_mask(path)
    images.read_mask(path)
    assert mask.sum() == pytest.approx(DRAWN.sum(), rel=0.1)
    assert (mask != DRAWN).sum() < 0.1 * DRAWN.sum()
    (record,) = log.records
    assert record.getMessage().startswith(f"{path}: a mask compressed with loss (JPEG)")


def test_a_jpeg_within_a_tiff_is_lossy_too(tmp_path: Path, log) -> None:
    path = tmp_path / "m.tif"
    drawn().save(path, compression="jpeg")
    assert images.read_mask(path).sum() == pytest.approx(DRAWN.sum(), rel=0.05)
    assert len(log.records) == 1


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_with_alpha(tmp_path: Path, lossless: bool, log) -> None:
    path = tmp_path / "m.webp"
    with_alpha(255, 255 * DRAWN).save(path, lossless=lossless, exact=True)
    np.testing.assert_array_equal(images.read_mask(path), DRAWN)
    drawn("RGB", (255, 255, 255)).save(tmp_path / "n.webp", lossless=lossless)
    assert images.read_mask(tmp_path / "n.webp").sum() == pytest.approx(DRAWN.sum(), rel=0.1)
    assert len(log.records) == (0 if lossless else 2)


def test_an_empty_jpeg_is_empty(tmp_path: Path) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "m.jpg")
    assert not images.read_mask(tmp_path / "m.jpg").any()


@pytest.mark.parametrize(
    ("form", "options", "expected"),
    [
        ("JPEG", {}, "JPEG"),
        ("TIFF", {"compression": "jpeg"}, "JPEG"),
        ("TIFF", {"compression": "tiff_lzw"}, ""),
        ("WEBP", {"lossless": False}, "WebP"),
        ("WEBP", {"lossless": True}, ""),
        ("PNG", {}, ""),
        ("BMP", {}, ""),
    ],
)
def test_compression_with_loss_is_known(form: str, options: dict, expected: str) -> None:
    file = io.BytesIO()
    drawn("RGB", (255, 255, 255)).save(file, form, **options)
    assert lossy_compression(file.getvalue()) == expected


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_other_formats_keep_every_pixel(tmp_path: Path, form: str, log) -> None:
    drawn(colour=1).save(tmp_path / "m", form)
    np.testing.assert_array_equal(images.read_mask(tmp_path / "m"), DRAWN)
    assert not log.records


def test_a_tiff_that_pillow_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "m.tif"
    drawn().save(path, tiffinfo={338: (0,)})
    with pytest.raises(UnidentifiedImageError):
        Image.open(path)
    np.testing.assert_array_equal(images.read_mask(path), DRAWN)


# Alpha.


def with_alpha(colours: np.ndarray | int, alpha: np.ndarray | int) -> Image.Image:
    """An image from colours and alpha, each (120, 160) of 0 and 255, or one value for all."""
    layers = [
        Image.fromarray(np.broadcast_to(np.uint8(one), DRAWN.shape)) for one in (colours, alpha)
    ]
    return Image.merge("RGBA", [layers[0]] * 3 + [layers[1]])


@pytest.mark.parametrize(
    ("colours", "alpha"),
    [
        (255 * DRAWN, 255),
        (255 * DRAWN, 0),
        (255, 255 * DRAWN),
        (0, 255 * DRAWN),
        (255 * DRAWN, 255 * DRAWN),
        (255 * ~DRAWN, 255 * DRAWN),
        (255 * DRAWN, 255 - 127 * DRAWN),
        (0, 128 * DRAWN),
    ],
    ids=[
        "opaque",
        "transparent",
        "white under alpha",
        "black under alpha",
        "painted on nothing",
        "black on hidden white",
        "half opaque paint",
        "half opaque alpha alone",
    ],
)
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_understood(tmp_path: Path, colours, alpha, mode: str) -> None:
    path = tmp_path / "m.png"
    with_alpha(colours, alpha).convert(mode).save(path)
    np.testing.assert_array_equal(images.read_mask(path), DRAWN)


@pytest.mark.parametrize("alpha", [0, 255])
def test_an_empty_mask_with_the_same_alpha_everywhere_is_empty(tmp_path: Path, alpha: int) -> None:
    with_alpha(0, alpha).save(tmp_path / "m.png")
    assert not images.read_mask(tmp_path / "m.png").any()


def test_a_transparent_colour_of_a_palette(tmp_path: Path) -> None:
    image = Image.fromarray(DRAWN.astype(np.uint8)).convert("P")
    image.putpalette([9, 9, 9, 255, 0, 0, *[0] * 762])
    image.save(tmp_path / "m.png", transparency=0)
    np.testing.assert_array_equal(images.read_mask(tmp_path / "m.png"), DRAWN)


def test_alpha_is_turned_as_the_colours_are(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with_alpha(255, 255 * DRAWN).save(tmp_path / "m.png", exif=exif)
    np.testing.assert_array_equal(images.read_mask(tmp_path / "m.png"), np.rot90(DRAWN, -1))


# Size.


@pytest.mark.parametrize(("defective", "warned"), [(60, False), (61, True), (100, True)])
def test_a_mask_of_most_of_its_image_is_warned_of(
    tmp_path: Path, defective: int, warned: bool, log
) -> None:
    mask = np.arange(100).reshape(10, 10) < defective
    images.write_png(tmp_path / "m.png", mask)
    sample = Sample(tmp_path / "a.png", "cut", tmp_path / "m.png")
    for _ in range(2):
        np.testing.assert_array_equal(mvtec.read_sample_mask(sample, (10, 10)), mask)
    assert [record.getMessage() for record in log.records] == [
        f"{tmp_path / 'm.png'}: marks {defective} % of its image as defective; is it inverted?"
    ] * warned
