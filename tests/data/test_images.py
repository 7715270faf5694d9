from __future__ import annotations

import io
import logging
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ssae_tf.data import images
from ssae_tf.errors import DataError

HEIGHT, WIDTH = 12, 20
LOSSLESS = ["png", "bmp", "tif", "webp"]


def noise(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    high = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, high, shape, dtype, endpoint=True)


def smooth(size: tuple[int, int] = (64, 96)) -> np.ndarray:
    rows, columns = np.indices(size)
    return np.stack([rows * 3 % 256, columns * 2 % 256, (rows + columns) % 256], -1).astype(
        np.uint8
    )


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def png_16_bit(pixels: np.ndarray) -> bytes:
    """Pillow writes no such files in colour."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(*pixels.shape[:2], colour_type={2: 0, 3: 2}[pixels.ndim], rows=rows)


def png(height: int, width: int, colour_type: int, rows: bytes) -> bytes:
    """A 16-bit PNG by the letter of the specification."""
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks)


def tiff(pixels: np.ndarray, tags: dict[int, list[int]] | None = None, order: str = "<") -> bytes:
    """An uncompressed TIFF with its directory in front and one strip behind."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    strip = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    values = {
        256: [width],
        257: [height],
        258: [pixels.dtype.itemsize * 8] * channels,
        259: [1],
        262: [2 if channels >= 3 else 1],
        273: [0],
        274: [1],
        277: [channels],
        278: [height],
        279: [len(strip)],
        **(tags or {}),
    }
    behind = 8 + 2 + 12 * len(values) + 4
    long = b""
    values[273] = [behind + sum(2 * len(v) for v in values.values() if len(v) > 2)]
    directory = struct.pack(order + "H", len(values))
    for tag, entries in sorted(values.items()):
        if tag in (273, 279):
            field = struct.pack(order + "I", entries[0])
        elif len(entries) <= 2:
            field = struct.pack(order + "H" * len(entries), *entries).ljust(4, b"\0")
        else:
            field = struct.pack(order + "I", behind + len(long))
            long += struct.pack(order + "H" * len(entries), *entries)
        kind = 4 if tag in (273, 279) else 3
        directory += struct.pack(order + "HHI", tag, kind, len(entries)) + field
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", 8) + directory + b"\0" * 4 + long + strip


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="ssae_tf")
    return caplog


@pytest.mark.parametrize("ending", LOSSLESS)
def test_colour_pixels_come_in_rgb_order(tmp_path: Path, ending: str, log) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(noise()).save(path, lossless=True)
    pixels = images.read_pixels(path)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, noise())
    assert not log.records


@pytest.mark.parametrize("ending", LOSSLESS)
def test_grey_is_repeated_to_three_channels(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(noise(1)).save(path, lossless=True)
    np.testing.assert_array_equal(images.read_pixels(path), np.stack([noise(1)] * 3, -1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("encode", [png_16_bit, tiff, lambda a: tiff(a, order=">")])
def test_sixteen_bits_are_kept(tmp_path: Path, channels: int, encode) -> None:
    pixels = noise(channels, np.uint16)
    read = images.read_pixels(write(tmp_path / "a", encode(pixels)))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, pixels if channels == 3 else np.stack([pixels] * 3, -1))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_agrees_with_another_decoder(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(smooth()).convert(mode).save(path, quality=95)
    other = np.asarray(Image.open(path).convert("RGB"), int)
    assert np.abs(images.read_pixels(path) - other).max() <= 4


@pytest.mark.parametrize("ending", LOSSLESS)
@pytest.mark.parametrize("mode", ["P", "1"])
def test_palettes_and_single_bits_are_looked_up(
    tmp_path: Path, ending: str, mode: str, log
) -> None:
    path = tmp_path / f"a.{ending}"
    image = Image.fromarray(noise()).convert(mode)
    image.save(path, lossless=True)
    np.testing.assert_array_equal(images.read_pixels(path), np.asarray(image.convert("RGB")))
    assert not log.records


def test_of_several_pages_the_first_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(noise()).save(
        path, save_all=True, append_images=[Image.fromarray(255 - noise())]
    )
    np.testing.assert_array_equal(images.read_pixels(path), noise())


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "JPEG"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_a_single_pixel(tmp_path: Path, form: str, mode: str) -> None:
    data = saved(Image.new("RGB", (1, 1), (255, 255, 255)).convert(mode), form)
    pixels = images.read_pixels(write(tmp_path / "a", data))
    assert pixels.tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("name", ["größe 検査 ✓.png", "A.PNG", "no ending", "a.jpg"])
def test_the_content_decides_whatever_the_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, saved(Image.fromarray(noise()), "PNG"))
    np.testing.assert_array_equal(images.read_pixels(path), noise())
    np.testing.assert_array_equal(images.read_pixels(str(path)), noise())


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def oriented(form: str, channels: int, orientation: int) -> tuple[bytes, np.ndarray]:
    """A file whose EXIF asks for a turn, and the pixels as stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    if form == "PNG 16":
        stored = noise(1, np.uint16)
        return saved(Image.fromarray(stored), "PNG", exif=exif), stored
    if form == "TIFF 16":
        stored = noise(channels, np.uint16)
        return tiff(stored, {274: [orientation]}), stored
    stored = smooth((16, 32)) if form == "JPEG" else noise()
    stored = stored if channels == 3 else stored[..., 0]
    options = {"lossless": True} if form == "WEBP" else {}
    return saved(Image.fromarray(stored), form, exif=exif, **options), stored


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "PNG 16", "TIFF 16", "WEBP"])
def test_orientation_is_honoured(
    tmp_path: Path, form: str, channels: int, orientation: int
) -> None:
    data, stored = oriented(form, channels, orientation)
    stored = np.stack([stored] * 3, -1) if stored.ndim == 2 else stored
    expected = UPRIGHT[orientation](stored)
    path = write(tmp_path / "a", data)
    pixels = images.read_pixels(path)
    assert pixels.dtype == stored.dtype
    assert pixels.shape == expected.shape
    assert images.image_size(path) == expected.shape[:2]
    difference = np.abs(pixels.astype(int) - expected)
    assert difference.mean() < 10 if form == "JPEG" else difference.max() == 0


def with_alpha(kind: str) -> bytes:
    pixels = noise(4)
    image = Image.fromarray(pixels)
    grey = Image.merge("LA", [image.getchannel(0), image.getchannel(3)])
    if kind == "bmp":
        # Pillow's header does not name the alpha bits: a V4 header with four masks does.
        masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        header = struct.pack("<IiiHHIIiiII", 108, WIDTH, -HEIGHT, 1, 32, 3, 0, 0, 0, 0, 0)
        header = (header + masks).ljust(108, b"\0")
        body = pixels[..., [2, 1, 0, 3]].tobytes()
        return struct.pack("<2sIHHI", b"BM", 122 + len(body), 0, 0, 122) + header + body
    return {
        "png": lambda: saved(image, "PNG"),
        "png grey": lambda: saved(grey, "PNG"),
        "png tRNS": lambda: saved(image.convert("RGB"), "PNG", transparency=(1, 2, 3)),
        "tiff unassociated": lambda: tiff(pixels, {338: [2]}),
        "tiff associated": lambda: tiff(pixels, {338: [1]}),
        "tiff undeclared": lambda: tiff(pixels),
        "tiff big-endian": lambda: tiff(pixels, {338: [2]}, order=">"),
        "tiff lzw": lambda: saved(image, "TIFF", compression="tiff_lzw"),
        "tiff beyond 4 GB": lambda: saved(image, "TIFF", big_tiff=True),
        "tiff grey": lambda: saved(grey, "TIFF"),
        "tiff 16": lambda: tiff(noise(4, np.uint16), {338: [2]}),
        "webp": lambda: saved(image, "WEBP", lossless=True, exact=True),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        "png",
        "png grey",
        "png tRNS",
        "bmp",
        "tiff unassociated",
        "tiff associated",
        "tiff undeclared",
        "tiff big-endian",
        "tiff lzw",
        "tiff beyond 4 GB",
        "tiff grey",
        "tiff 16",
        "webp",
    ],
)
def test_alpha_is_left_out_with_one_warning(tmp_path: Path, kind: str, log) -> None:
    path = write(tmp_path / "a", with_alpha(kind))
    pixels = images.read_pixels(path)
    images.read_pixels(path)
    stored = noise(4, pixels.dtype.type)
    expected = stored[..., [0, 0, 0]] if "grey" in kind else stored[..., :3]
    np.testing.assert_array_equal(pixels, expected)
    assert [record.getMessage() for record in log.records] == [
        f"{path}: the alpha channel is left out."
    ]


def test_sizes_and_masks_do_not_warn_of_alpha(tmp_path: Path, log) -> None:
    path = write(tmp_path / "a.png", with_alpha("png"))
    images.image_size(path)
    images.read_mask(path)
    assert not log.records


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        images.read_pixels(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert "\n" not in message
    return message


ENCODINGS = {
    "png": lambda: saved(Image.fromarray(smooth()), "PNG"),
    "png 16": lambda: png_16_bit(smooth().astype(np.uint16) * 257),
    "jpeg": lambda: saved(Image.fromarray(smooth()), "JPEG"),
    "jpeg grey": lambda: saved(Image.fromarray(smooth()[..., 0]), "JPEG"),
    "jpeg progressive": lambda: saved(Image.fromarray(smooth()), "JPEG", progressive=True),
    "bmp": lambda: saved(Image.fromarray(smooth()), "BMP"),
    "bmp palette": lambda: saved(Image.fromarray(smooth()).convert("P"), "BMP"),
    "tiff, directory first": lambda: tiff(smooth()),
    "tiff, directory last": lambda: cv2.imencode(".tiff", smooth())[1].tobytes(),
    "tiff lzw": lambda: saved(Image.fromarray(smooth()), "TIFF", compression="tiff_lzw"),
    "tiff 16": lambda: tiff(smooth().astype(np.uint16)),
    "tiff deflate": lambda: saved(Image.fromarray(smooth()), "TIFF", compression="tiff_deflate"),
    "webp": lambda: saved(Image.fromarray(smooth()), "WEBP"),
    "webp lossless": lambda: saved(Image.fromarray(smooth()), "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", ENCODINGS)
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    data = ENCODINGS[kind]()
    images.read_pixels(write(tmp_path / "whole", data))
    for cut in {1, 2, 3, 8, 20, 50, *range(100, len(data), len(data) // 40), len(data) - 1}:
        refusal(write(tmp_path / "cut", data[:cut]))


def test_truncation_is_named_and_nothing_else_is_printed(
    tmp_path: Path, project_root: Path
) -> None:
    for name, form in [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.bmp", "BMP"), ("a.tif", "TIFF")]:
        data = saved(Image.fromarray(smooth()), form)
        write(tmp_path / name, data[: len(data) // 2])
    program = (
        "import sys; from pathlib import Path; from ssae_tf.data import images\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try: images.read_pixels(path)\n"
        "    except images.DataError as error: print(error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENCV_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=project_root,
    )
    assert done.stderr == ""
    assert [line.count("truncated") for line in done.stdout.splitlines()] == [1, 1, 1, 1]


def test_a_thumbnail_does_not_make_a_truncated_jpeg_whole(tmp_path: Path) -> None:
    thumbnail = saved(Image.fromarray(smooth((8, 8))), "JPEG")
    body = b"Exif\0\0" + thumbnail
    whole = saved(Image.fromarray(smooth()), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    data = whole[:2] + segment + whole[2:]
    images.read_pixels(write(tmp_path / "whole.jpg", data))
    assert "truncated" in refusal(write(tmp_path / "cut.jpg", data[:-40]))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF"])
def test_bytes_behind_the_image_do_no_harm(tmp_path: Path, form: str) -> None:
    data = saved(Image.fromarray(smooth()), form)
    np.testing.assert_array_equal(
        images.read_pixels(write(tmp_path / "a", data + b"\0\xff\xda\0" * 9)),
        images.read_pixels(write(tmp_path / "b", data)),
    )


def test_fill_bytes_between_jpeg_segments_do_no_harm(tmp_path: Path) -> None:
    data = saved(Image.fromarray(smooth()), "JPEG")
    assert images.read_pixels(write(tmp_path / "a", data[:2] + b"\xff\xff" + data[2:])).size


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    assert "empty" in refusal(write(tmp_path / "a.png", b""))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "a.png")
    assert "irectory" in refusal(tmp_path)


@pytest.mark.parametrize("form", ["GIF", "PPM"])
def test_other_formats_are_refused_by_name_of_those_expected(tmp_path: Path, form: str) -> None:
    data = saved(Image.fromarray(noise()), form)
    assert "PNG, JPEG, BMP, TIFF, WebP or HEIC" in refusal(write(tmp_path / "a.png", data))


def test_text_is_no_image(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "a.png", b"version https://git"))
    assert "PNG, JPEG, BMP, TIFF, WebP or HEIC" in message


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
def test_other_depths_are_refused_by_name(tmp_path: Path, channels: int, dtype: type) -> None:
    pixels = np.ones((4, 4, channels), dtype)
    data = cv2.imencode(".tiff", pixels)[1].tobytes()
    message = refusal(write(tmp_path / "a.tif", data))
    assert "8- or 16-bit unsigned" in message
    assert np.dtype(dtype).name in message


@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_whose_directory_is_out_of_reach(tmp_path: Path, big: bool) -> None:
    data = b"II+\0\x08\0\0\0" + b"\xff" * 8 if big else b"II*\0" + b"\xff\xff\xff\x7f"
    refusal(write(tmp_path / "a.tif", data))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_a_forbidden_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", b"x")
    path.chmod(0)
    assert "ermission" in refusal(path)


def test_names_of_images() -> None:
    for name in ["a.png", "a.JPG", "a.jpeg", "a.bmp", "a.Tif", "a.TIFF", "a.WebP"]:
        assert images.is_image_name(Path(name))
    for name in ["png", ".png", "a.txt", "a.png.part", "Thumbs.db", "a"]:
        assert not images.is_image_name(Path(name))


def test_what_is_left_out_of_a_folder_is_counted() -> None:
    names = ["a.heic", "notes.pdf", "b.HEIC", "c.heic", "Makefile"]
    assert images.left_out(map(Path, names)) == (
        "5 files left out: 3 .heic (pip install 'ssae-tf[heic]'), 1 .pdf, 1 without an ending"
    )
    assert images.left_out([Path("a.gif")]) == "1 file left out: 1 .gif"
    assert images.left_out([]) == ""
