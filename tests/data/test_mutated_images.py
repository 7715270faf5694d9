"""Images with some of their bytes changed: read at the size of the header, or refused; never more.

`SSAE_TF_MUTATIONS=10000` makes it the long run.
"""

from __future__ import annotations

import io
import itertools
import os
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssae_tf.data import images
from ssae_tf.data.headers import READERS, format_of, read_header
from ssae_tf.errors import DataError

INPUTS = int(os.environ.get("SSAE_TF_MUTATIONS", "400"))
# Some headers ask for as much as is allowed.
MAX_PIXELS = 10_000_000
NUMBERS = [0, 1, 300, 65536, 2**28, 2**31 - 1, 2**32 - 1]


def deep_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(buffer, "PNG")
    return buffer.getvalue()


def heic(image: Image.Image) -> bytes:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer)
    return buffer.getvalue()


def originals() -> dict[str, bytes]:
    rows, columns = np.indices((48, 40))
    pixels = np.stack([rows * 5, columns * 6, rows + columns], -1).astype(np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: dict[str, tuple[str, str, dict[str, object]]] = {
        "png": ("RGB", "PNG", {}),
        "png palette": ("P", "PNG", {"exif": exif}),
        "png alpha": ("RGBA", "PNG", {}),
        "jpeg": ("RGB", "JPEG", {"exif": exif}),
        "jpeg progressive": ("RGB", "JPEG", {"progressive": True}),
        "jpeg cmyk": ("CMYK", "JPEG", {}),
        "bmp": ("RGB", "BMP", {}),
        "bmp palette": ("P", "BMP", {}),
        "tiff": ("RGB", "TIFF", {"exif": exif}),
        "tiff grey": ("L", "TIFF", {}),
        "tiff lzw": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
        "tiff deflate": ("RGBA", "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff jpeg": ("RGB", "TIFF", {"compression": "jpeg"}),
        "tiff fax": ("1", "TIFF", {"compression": "group4"}),
        "tiff 16": ("I;16", "TIFF", {}),
        "tiff beyond 4 GB": ("RGB", "TIFF", {"big_tiff": True}),
        "webp": ("RGB", "WEBP", {"exif": exif}),
        "webp lossless": ("RGBA", "WEBP", {"lossless": True}),
    }
    found = {"png 16": deep_png(pixels)}
    for name, (mode, form, options) in kinds.items():
        buffer = io.BytesIO()
        # Pillow takes 16 bits from 32 only.
        source = image.convert("I") if mode == "I;16" else image
        source.convert(mode).save(buffer, form, **options)
        found[name] = buffer.getvalue()
    if images.HAS_HEIC:
        found["heic"] = heic(image)
    return found


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes of one sort, half of them in the first 200 bytes."""
    changed = bytearray(data)
    sort = int(rng.integers(6))
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(min(len(changed), 200) if rng.integers(2) else len(changed)))
        length = int(rng.integers(1, 20))
        if sort == 0:
            changed[place] ^= 1 << int(rng.integers(8))
        elif sort == 1:
            changed[place] = int(rng.choice([0, 1, 127, 128, 255]))
        elif sort == 2:
            del changed[place : place + length]
        elif sort == 3:
            changed[place:place] = rng.bytes(length)
        elif sort == 4:
            order = ("<I", ">I")[int(rng.integers(2))]
            changed[place : place + 4] = struct.pack(order, int(rng.choice(NUMBERS)))
        else:
            del changed[max(12, place) :]
        if not changed:
            return b"\0"
    return bytes(changed)


def refused_or_read(path: Path) -> str:
    """What becomes of a file; fails where that is neither an error of ours nor a whole image."""
    try:
        pixels = images.read_pixels(path, MAX_PIXELS)
    except DataError as error:
        return "refused" if str(error).startswith(f"{path}: ") else repr(error)
    assert pixels.dtype in (np.uint8, np.uint16)
    data = path.read_bytes()
    kind = format_of(data[:12])
    if kind in READERS:
        header = read_header(kind, data)
        size = sorted((header.height, header.width))
        assert sorted(pixels.shape[:2]) == size
        assert pixels.shape[2:] == (3,)
    return "read"


def test_an_image_of_the_headers_size_or_an_error(
    tmp_path: Path, rng: np.random.Generator, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "image"
    files = originals()
    outcomes: Counter[str] = Counter()
    for _, (name, data) in zip(range(INPUTS), itertools.cycle(files.items()), strict=False):
        path.write_bytes(mutated(data, rng))
        outcomes[f"{name}: {refused_or_read(path)}"] += 1
    assert {outcome.rpartition(": ")[2] for outcome in outcomes} == {"refused", "read"}
    assert {outcome.partition(": ")[0] for outcome in outcomes} == set(files)
    # Native libraries have said nothing.
    assert capfd.readouterr().err == ""
