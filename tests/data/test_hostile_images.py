"""Files that must not be opened, must not be decoded, or decode to what they do not show."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ssae_tf.data import images
from ssae_tf.errors import DataError, ImageTooLargeError

HEIGHT, WIDTH = 96, 80


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    """(96, 80, 3) uint8: slopes with some noise."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    slopes = np.stack([rows * 2, columns * 3, rows + columns], -1)
    return (slopes + rng.integers(0, 9, slopes.shape)).astype(np.uint8)


def encoded(pixels: np.ndarray, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def refusal(path: Path, **options: int) -> str:
    with pytest.raises(DataError) as caught:
        images.read_pixels(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(".")
    assert "\n" not in message
    return message


class TestOnlyFilesAreOpened:
    def test_a_pipe_is_named_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.png")
        assert "found a pipe (FIFO)" in refusal(tmp_path / "a.png")
        (tmp_path / "b.png").symlink_to("a.png")
        assert "found a pipe (FIFO)" in refusal(tmp_path / "b.png")

    def test_a_socket_and_a_device_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A socket's path may have some 100 letters only.
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("a.png")
            assert "found a socket" in refusal(Path("a.png"))
        assert "found a device" in refusal(Path("/dev/zero"))

    def test_a_link_to_a_file_is_followed(self, tmp_path: Path, pixels: np.ndarray) -> None:
        (tmp_path / "a.png").write_bytes(encoded(pixels, "PNG"))
        (tmp_path / "b.png").symlink_to("a.png")
        np.testing.assert_array_equal(images.read_pixels(tmp_path / "b.png"), pixels)

    def test_of_a_large_file_that_is_no_image_only_the_start_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "film.png"
        with path.open("wb") as file:
            # A hole of 1 TB.
            file.truncate(1 << 40)
        assert "found something else" in refusal(path)


def with_size(form: str, data: bytes, height: int, width: int) -> bytes:
    """The same file with a header that claims another size."""
    if form == "PNG":
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    if form == "JPEG":
        frame = data.index(b"\xff\xc0") + 5
        return data[:frame] + struct.pack(">HH", height, width) + data[frame + 4 :]
    if form == "BMP":
        return data[:18] + struct.pack("<ii", width, height) + data[26:]
    changed = bytearray(data)
    for tag, value in (256, width), (257, height):
        entry = data.index(struct.pack("<HHI", tag, 4, 1))
        changed[entry + 8 : entry + 12] = struct.pack("<I", value)
    return bytes(changed)


class TestSize:
    @pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF"])
    def test_the_header_decides_before_anything_is_decoded(
        self, tmp_path: Path, pixels: np.ndarray, form: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a"
        path.write_bytes(with_size(form, encoded(pixels, form), 30000, 20000))

        def imdecode(*_: object) -> None:
            raise AssertionError("Its pixels were asked for.")

        monkeypatch.setattr(cv2, "imdecode", imdecode)
        with pytest.raises(ImageTooLargeError) as caught:
            images.read_pixels(path)
        assert str(caught.value) == (
            f"{path}: 20000×30000 pixels are 600,000,000, the limit is 178,956,970."
        )

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
    def test_the_limit_is_the_largest_size_that_is_read(
        self, tmp_path: Path, pixels: np.ndarray, form: str
    ) -> None:
        path = tmp_path / "a"
        path.write_bytes(encoded(pixels, form))
        assert images.read_pixels(path, HEIGHT * WIDTH).shape == pixels.shape
        assert images.read_pixels(path, max_pixels=HEIGHT * WIDTH).shape == pixels.shape
        assert "the limit is 7,679" in refusal(path, max_pixels=HEIGHT * WIDTH - 1)

    def test_beyond_the_limit_of_opencv(self, tmp_path: Path, pixels: np.ndarray) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(with_size("PNG", encoded(pixels, "PNG"), 60000, 60000))
        assert "the PNG is truncated, damaged or" in refusal(path, max_pixels=1 << 40)

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF"])
    @pytest.mark.parametrize("size", [(0, WIDTH), (HEIGHT, 0)])
    def test_no_pixels_at_all(
        self, tmp_path: Path, pixels: np.ndarray, form: str, size: tuple[int, int]
    ) -> None:
        path = tmp_path / "a"
        path.write_bytes(with_size(form, encoded(pixels, form), *size))
        assert "damaged header" in refusal(path)

    def test_a_png_without_its_first_chunk(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0IEND\xaeB`\x82")
        assert "damaged header" in refusal(path)


def with_hole(data: bytes, begin: int, length: int = 200) -> bytes:
    """The same file with other bytes somewhere, none of them 255, which begins JPEG's markers."""
    noise = np.random.default_rng(1).integers(0, 255, length, np.uint8).tobytes()
    return data[:begin] + noise + data[begin + length :]


def image_strip(path: Path) -> range:
    """Where the first strip of a TIFF lies in the file."""
    with Image.open(path) as image:
        start, length = image.tag_v2[273][0], image.tag_v2[279][0]
    return range(start, start + length)


class TestDamage:
    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
    def test_of_jpeg_scans_is_no_grey_bar(
        self, tmp_path: Path, pixels: np.ndarray, options: dict[str, bool], capfd
    ) -> None:
        data = encoded(pixels, "JPEG", quality=95, **options)
        scan = data.index(b"\xff\xda")
        path = tmp_path / "a.jpg"
        path.write_bytes(with_hole(data, scan + (len(data) - scan) // 3))
        assert "damaged" in refusal(path)
        # As a camera that lost the end of its frame.
        path.write_bytes(data[: (scan + len(data)) // 2] + b"\xff\xd9")
        assert "damaged" in refusal(path)
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize("padding", [b"\0", b"\0\0"])
    def test_frames_padded_by_a_camera_are_whole(
        self, tmp_path: Path, pixels: np.ndarray, padding: bytes, capfd
    ) -> None:
        data = encoded(pixels, "JPEG")
        (tmp_path / "a.jpg").write_bytes(data)
        (tmp_path / "b.jpg").write_bytes(data[:-2] + padding + data[-2:])
        plain, padded = (images.read_pixels(tmp_path / name) for name in ("a.jpg", "b.jpg"))
        np.testing.assert_array_equal(padded, plain)
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "tiff_lzw", "jpeg", "group4"])
    def test_of_compressed_tiffs(
        self, tmp_path: Path, pixels: np.ndarray, compression: str, capfd
    ) -> None:
        mode = "1" if compression == "group4" else "RGB"
        image = Image.fromarray(pixels // 16 * 16).convert(mode)
        buffer = io.BytesIO()
        image.save(buffer, "TIFF", compression=compression)
        data = buffer.getvalue()
        path = tmp_path / "a.tif"
        path.write_bytes(data)
        images.read_pixels(path)
        strip = image_strip(path)
        path.write_bytes(with_hole(data, strip.start + len(strip) // 2, len(strip) // 4))
        assert "the TIFF is truncated or damaged (" in refusal(path)
        assert capfd.readouterr().err == ""

    def test_of_png_data(self, tmp_path: Path, pixels: np.ndarray, capfd) -> None:
        data = encoded(pixels, "PNG")
        path = tmp_path / "a.png"
        path.write_bytes(with_hole(data, len(data) // 2))
        assert "the PNG is truncated or damaged (" in refusal(path)
        assert capfd.readouterr().err == ""

    def test_a_bad_colour_profile_is_no_matter(
        self, tmp_path: Path, pixels: np.ndarray, capfd
    ) -> None:
        data = encoded(pixels, "PNG", icc_profile=b"no profile")
        path = tmp_path / "a.png"
        path.write_bytes(data)
        assert b"iCCP" in data
        np.testing.assert_array_equal(images.read_pixels(path), pixels)
        assert capfd.readouterr().err == ""

    def test_is_seen_with_stderr_closed(
        self, tmp_path: Path, pixels: np.ndarray, project_root: Path
    ) -> None:
        data = encoded(pixels, "JPEG", quality=95)
        (tmp_path / "a.jpg").write_bytes(with_hole(data, len(data) // 2))
        program = (
            "import os, sys; from ssae_tf.data import images\n"
            "os.close(2)\n"
            "try: images.read_pixels(sys.argv[1])\n"
            "except images.DataError as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "a.jpg")],
            capture_output=True,
            text=True,
            check=True,
            cwd=project_root,
        )
        assert "the JPEG is truncated or damaged (" in done.stdout

    def test_what_other_threads_say_is_passed_on(
        self, tmp_path: Path, pixels: np.ndarray, capfd
    ) -> None:
        data = encoded(np.tile(pixels, (20, 20, 1)), "JPEG")
        (tmp_path / "a.jpg").write_bytes(with_hole(data, len(data) // 2))
        said = [f"line {number}\n" for number in range(2000)]
        speaker = threading.Thread(target=lambda: [os.write(2, s.encode()) for s in said])
        speaker.start()
        while speaker.is_alive():
            assert "damaged" in refusal(tmp_path / "a.jpg")
        speaker.join()
        assert sorted(capfd.readouterr().err.splitlines(True)) == sorted(said)

    def test_is_told_of_the_file_that_has_it(self, tmp_path: Path, pixels: np.ndarray) -> None:
        whole, damaged = tmp_path / "whole.jpg", tmp_path / "damaged.jpg"
        whole.write_bytes(encoded(pixels, "JPEG", quality=95))
        damaged.write_bytes(with_hole(whole.read_bytes(), 2000))
        found: list[bool] = []

        def read() -> None:
            for _ in range(50):
                images.read_pixels(whole)
                found.append("damaged" in refusal(damaged))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 200
        assert all(found)


def tiff(pixels: np.ndarray, tags: dict[int, Sequence[int]], *, planes: bool = False) -> bytes:
    """An uncompressed little-endian TIFF of one strip, or of one strip for each channel."""
    height, width, channels = pixels.shape
    strips = np.moveaxis(pixels, -1, 0) if planes else pixels[None]
    content = [strip.astype(strip.dtype.newbyteorder("<")).tobytes() for strip in strips]
    values: dict[int, Sequence[int]] = {
        256: [width],
        257: [height],
        258: [pixels.dtype.itemsize * 8] * channels,
        259: [1],
        262: [2 if channels >= 3 else 1],
        273: [8 + len(content[0]) * number for number in range(len(content))],
        277: [channels],
        278: [height],
        279: [len(strip) for strip in content],
        284: [2 if planes else 1],
        **tags,
    }
    directory = 8 + sum(map(len, content))
    behind = directory + 2 + 12 * len(values) + 4
    entries = far = b""
    for tag, numbers in sorted(values.items()):
        kind, letter = (4, "I") if tag in (273, 279) else (3, "H")
        field = struct.pack(f"<{len(numbers)}{letter}", *numbers)
        if len(field) > 4:
            field, far = struct.pack("<I", behind + len(far)), far + field
        entries += struct.pack("<HHI", tag, kind, len(numbers)) + field.ljust(4, b"\0")
    start = b"II*\0" + struct.pack("<I", directory) + b"".join(content)
    return start + struct.pack("<H", len(values)) + entries + b"\0" * 4 + far


class TestDeepTiff:
    @pytest.fixture
    def deep(self, rng: np.random.Generator) -> Callable[[int], np.ndarray]:
        return lambda channels: rng.integers(0, 65536, (8, 12, channels), np.uint16)

    def test_separate_planes_of_16_bits_are_refused(self, tmp_path: Path, deep) -> None:
        path = tmp_path / "a.tif"
        path.write_bytes(tiff(deep(3), {}, planes=True))
        assert "has 3 separate planes of more than 8 bits" in refusal(path)

    def test_separate_planes_of_8_bits_are_read(self, tmp_path: Path, pixels: np.ndarray) -> None:
        path = tmp_path / "a.tif"
        path.write_bytes(tiff(pixels, {}, planes=True))
        np.testing.assert_array_equal(images.read_pixels(path), pixels)

    def test_one_separate_plane_is_grey(self, tmp_path: Path, deep) -> None:
        path = tmp_path / "a.tif"
        grey = deep(1)
        path.write_bytes(tiff(grey, {}, planes=True))
        np.testing.assert_array_equal(images.read_pixels(path), np.repeat(grey, 3, -1))

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_zero_is_white_where_the_file_says_so(self, tmp_path: Path, deep, dtype: type) -> None:
        path = tmp_path / "a.tif"
        stored = deep(1).astype(dtype)
        path.write_bytes(tiff(stored, {262: [0]}))
        read = images.read_pixels(path)
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, np.iinfo(dtype).max - np.repeat(stored, 3, -1))

    @pytest.mark.parametrize(
        ("channels", "tags"),
        [
            (2, {338: [2]}),
            (2, {}),
            (2, {262: [0]}),
            (1, {262: [3], 320: [0] * 3 * 16}),
            (3, {262: [8]}),
            (4, {262: [5]}),
            (3, {262: [6]}),
            (5, {262: [2], 338: [0, 0]}),
        ],
        ids=["grey+alpha", "two", "white 0", "palette", "Lab", "CMYK", "YCbCr", "five"],
    )
    def test_what_would_lose_its_depth_or_colours_is_refused(
        self, tmp_path: Path, deep, channels: int, tags: dict[int, list[int]]
    ) -> None:
        path = tmp_path / "a.tif"
        path.write_bytes(tiff(deep(channels), tags))
        assert "the TIFF " in refusal(path)

    def test_grey_and_alpha_of_8_bits_are_read(self, tmp_path: Path, pixels: np.ndarray) -> None:
        path = tmp_path / "a.tif"
        path.write_bytes(tiff(pixels[..., :2], {338: [2]}))
        np.testing.assert_array_equal(images.read_pixels(path), pixels[..., [0, 0, 0]])


class TestWebp:
    @pytest.mark.parametrize("quality", [30, 90])
    def test_pixels_are_those_of_opencv(
        self, tmp_path: Path, pixels: np.ndarray, quality: int
    ) -> None:
        path = tmp_path / "a.webp"
        path.write_bytes(encoded(pixels, "WEBP", quality=quality))
        np.testing.assert_array_equal(
            images.read_pixels(path), cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
        )

    def test_of_an_animation_the_first_is_taken(self, tmp_path: Path, pixels: np.ndarray) -> None:
        path = tmp_path / "a.webp"
        more = [Image.fromarray(255 - pixels)]
        path.write_bytes(encoded(pixels, "WEBP", lossless=True, save_all=True, append_images=more))
        np.testing.assert_array_equal(images.read_pixels(path), pixels)

    def test_damaged_exif_data_turn_nothing(self, tmp_path: Path, pixels: np.ndarray) -> None:
        path = tmp_path / "a.webp"
        path.write_bytes(encoded(pixels, "WEBP", lossless=True, exif=b"Exif\0\0II*\0\xff\xff"))
        np.testing.assert_array_equal(images.read_pixels(path), pixels)


def test_a_name_that_no_system_takes_is_an_error() -> None:
    for name, reason in (("a\0b.png", "embedded null byte"), (f"{'x' * 300}.png", "too long")):
        with pytest.raises(DataError, match=f"can't be read .*{reason}"):
            images.read_pixels(name)
