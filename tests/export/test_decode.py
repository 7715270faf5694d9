"""Images decoded in a graph have the pixels that the detector reads, or are refused."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssae_tf.data.images import read_image
from ssae_tf.errors import DataError
from ssae_tf.export.client import Client
from ssae_tf.export.decode import decode

WHITE_LEVEL = 4095
Check = Callable[[bytes], None]


@pytest.fixture(scope="module")
def graph() -> Callable[[bytes], tf.Tensor]:
    """`decode` with 12-bit white."""
    return tf.function(
        lambda content: decode(content, WHITE_LEVEL),
        input_signature=[tf.TensorSpec((), tf.string)],
        autograph=False,
    )


@pytest.fixture
def check(graph: Callable[[bytes], tf.Tensor], tmp_path: Path) -> Check:
    """Compares both readings of a file's content."""

    def compare(content: bytes) -> None:
        path = tmp_path / "image"
        path.write_bytes(content)
        expected = read_image(path, WHITE_LEVEL)
        found = graph(tf.constant(content)).numpy()
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        # A division may become a multiplication.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)

    return compare


@pytest.fixture
def image(rng: np.random.Generator) -> Image.Image:
    """Smooth colours, 37 × 53, so that JPEG has something to keep."""
    return Image.fromarray(
        (255 * cv2.GaussianBlur(rng.random((37, 53, 3)), (0, 0), 2)).astype(np.uint8)
    )


def _encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA"])
def test_png(mode: str, image: Image.Image, check: Check) -> None:
    check(_encoded(image.convert(mode), "PNG"))


@pytest.mark.parametrize("grey", [False, True])
def test_deep_png(grey: bool, rng: np.random.Generator, check: Check) -> None:
    # Some lie above white.
    pixels = (rng.random((20, 30) if grey else (20, 30, 3)) * 5000).astype(np.uint16)
    check(cv2.imencode(".png", pixels)[1].tobytes())


@pytest.mark.parametrize(
    "settings", [{"quality": 90}, {"quality": 95, "subsampling": 0}, {"progressive": True}]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg(mode: str, settings: dict[str, object], image: Image.Image, check: Check) -> None:
    check(_encoded(image.convert(mode), "JPEG", **settings))


def test_bmp(image: Image.Image, check: Check) -> None:
    check(_encoded(image, "BMP"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(10))
def test_orientation(kind: str, orientation: int, image: Image.Image, check: Check) -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    check(_encoded(image, kind, exif=exif.tobytes()))


@pytest.mark.parametrize("orientation", [1, 6])
def test_little_endian_orientation_behind_another_segment(
    orientation: int, image: Image.Image, check: Check
) -> None:
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + entries + struct.pack("<I", 0)
    body = b"Exif\0\0" + tiff
    segments = b"\xff\xfe" + struct.pack(">H", 7) + b"hello"
    segments += b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    content = _encoded(image, "JPEG")
    check(content[:2] + segments + content[2:])


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "palette BMP", "empty", "text", "BM"])
def test_other_files_are_refused(
    kind: str, image: Image.Image, graph: Callable[[bytes], tf.Tensor]
) -> None:
    contents = {
        "palette BMP": lambda: _encoded(image.convert("P"), "BMP"),
        "empty": lambda: b"",
        "text": lambda: b"no image",
        "BM": lambda: b"BM",
    }
    content = contents[kind]() if kind in contents else _encoded(image, kind)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected a PNG, JPEG or 24-bit BMP"):
        graph(tf.constant(content))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.02, 0.3])
def test_truncated_files_are_refused(
    kind: str, share: float, image: Image.Image, graph: Callable[[bytes], tf.Tensor]
) -> None:
    content = _encoded(image, kind)
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph(tf.constant(content[: int(share * len(content))]))


def test_absurd_lengths_do_not_hang(
    image: Image.Image, graph: Callable[[bytes], tf.Tensor]
) -> None:
    content = bytearray(_encoded(image, "PNG"))
    # The length of the second chunk, which points before the file as a signed number.
    content[33:37] = b"\xff\xff\xff\xc0"
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph(tf.constant(bytes(content)))


def test_the_client_sends_no_damaged_file(tmp_path: Path) -> None:
    """The server's decoder would put grey for what it can't follow."""
    path = tmp_path / "a.jpg"
    data = cv2.imencode(".jpg", np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))[1]
    path.write_bytes(data.tobytes()[: len(data) // 2] + b"\xff\xd9")
    with (
        Client("http://127.0.0.1:9", "tile") as client,
        pytest.raises(DataError, match=r"a\.jpg: the JPEG is truncated or damaged"),
    ):
        client.predict(path, as_file=True)
