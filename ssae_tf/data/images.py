"""Picture files to arrays and back, by one decoder (OpenCV) wherever the package reads pixels.

OpenCV alone does not suffice in three places, where the file's own structure is looked at first:
old versions return a truncated JPEG with grey filler; libpng writes to stderr on a truncated PNG;
and libtiff multiplies the colours of an 8-bit TIFF by its alpha, which is not dropping it.
"""

from __future__ import annotations

import logging
import os
import struct
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from ssae_tf.data.masks import defective
from ssae_tf.errors import DataError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})

_LOGGER = logging.getLogger("ssae_tf")

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_BMP = b"BM"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# IMREAD_UNCHANGED would keep the depth too, but ignores the EXIF orientation.
_AS_DECODED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH

# Every failure becomes a DataError, so OpenCV's own lines on stderr say it twice.
if "OPENCV_LOG_LEVEL" not in os.environ:
    # OpenCV 5 moved the function.
    getattr(getattr(cv2, "utils", cv2), "logging", cv2).setLogLevel(0)


def is_picture_name(path: Path) -> bool:
    """Whether the name ends like a picture's, in capitals or not."""
    return path.suffix.lower() in EXTENSIONS


def read_pixels(path: str | Path) -> np.ndarray:
    """Reads a picture as its file has it.

    A grey picture is repeated to three channels, a palette looked up, CMYK converted; the EXIF
    orientation is applied; of a TIFF with several pages the first is taken. Alpha is left out,
    with a warning on the logger `ssae_tf`, once per file.

    Args:
        path: a PNG, JPEG, BMP or TIFF; the content decides, not the name.

    Returns:
        (H, W, 3) uint8 or uint16, RGB.

    Raises:
        DataError: missing, empty, truncated, not a picture of these formats, or with pixels that
            are not 8- or 16-bit unsigned integers.
    """
    pixels, has_alpha = _decode(path)
    if has_alpha:
        _warn_of_alpha(path)
    return pixels


def to_unit(pixels: np.ndarray, white_level: int = 65535) -> np.ndarray:
    """Scales pixels to [0, 1].

    Args:
        pixels: uint8 or uint16, any shape.
        white_level: the uint16 value that becomes 1.0, 1 … 65535; higher ones become 1.0 too.
            Without effect on uint8, where 255 becomes 1.0.

    Returns:
        float32 in [0, 1], the shape of `pixels`.

    Raises:
        ValueError: another dtype, or a white level out of range.
    """
    if not 1 <= white_level <= 65535:
        raise ValueError(f"Expected a white_level of 1 to 65535. Received: {white_level}.")
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    if pixels.dtype == np.uint16:
        return np.minimum(pixels.astype(np.float32) / np.float32(white_level), np.float32(1))
    raise ValueError(f"Expected uint8 or uint16 pixels. Received: {pixels.dtype}.")


def read_image(path: str | Path, white_level: int = 65535) -> np.ndarray:
    """Reads a picture as the network takes it.

    Args:
        path: as in `read_pixels`.
        white_level: as in `to_unit`.

    Returns:
        (H, W, 3) float32 in [0, 1], RGB.

    Raises:
        DataError: as in `read_pixels`.
    """
    return to_unit(read_pixels(path), white_level)


def read_mask(path: str | Path) -> np.ndarray:
    """Reads a ground-truth mask.

    Returns:
        (H, W) bool, as `masks.defective` says.

    Raises:
        DataError: as in `read_pixels`.
    """
    return defective(*_decode(path), path)


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width of a picture, after its EXIF orientation is applied.

    Raises:
        DataError: as in `read_pixels`.
    """
    height, width = _decode(path)[0].shape[:2]
    return height, width


def write_png(path: Path, array: np.ndarray) -> None:
    """Writes a PNG that is either complete or absent: under another name, then renamed.

    Args:
        path: in a folder that exists; an existing file is replaced.
        array: (H, W, 3) uint8 RGB, (H, W) uint8 grey, or (H, W) bool, written as 0 and 255.

    Raises:
        ValueError: an array of another shape or dtype, or without pixels.
        DataError: the file can't be written.
    """
    encoded = encode_png(array)
    # mkstemp would leave a file that only its owner can read.
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        temporary.write_bytes(encoded)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror}).") from error
    finally:
        temporary.unlink(missing_ok=True)


def encode_png(array: np.ndarray) -> bytes:
    """The content of a PNG.

    Args:
        array: as in `write_png`.

    Raises:
        ValueError: as in `write_png`.
    """
    grey = array.ndim == 2
    if array.dtype == np.bool_ and grey:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8 or not (grey or array.shape[2:] == (3,)) or not array.size:
        raise ValueError(
            "Expected a (H, W, 3) uint8, (H, W) uint8 or (H, W) bool array with pixels. "
            f"Received: {array.shape} {array.dtype}."
        )
    _, encoded = cv2.imencode(".png", array if grey else cv2.cvtColor(array, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def _decode(path: str | Path) -> tuple[np.ndarray, bool]:
    """RGB pixels as in `read_pixels`, and whether an alpha channel was left out."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}).") from error
    if not data:
        raise DataError(f"{path}: the file is empty (0 bytes).")

    has_alpha = False
    if data.startswith(_PNG):
        chunks = list(_png_chunks(data))
        if b"IEND" not in chunks:
            raise DataError(f"{path}: the PNG is truncated.")
        has_alpha = b"tRNS" in chunks or bool(data[25] & 4)
    elif data.startswith(_JPEG):
        if not _jpeg_is_complete(data):
            raise DataError(f"{path}: the JPEG is truncated.")
    elif data.startswith(_TIFF):
        data, has_alpha = _tiff_without_alpha(data)
    elif data.startswith(_BMP):
        has_alpha = _bmp_has_alpha(data)
    else:
        raise DataError(f"{path}: expected a PNG, JPEG, BMP or TIFF picture, found something else.")

    pixels = _imdecode(data, _AS_DECODED)
    # Grey TIFFs of floats and 32-bit integers fail in the first reading.
    found = _imdecode(data, cv2.IMREAD_UNCHANGED) if pixels is None else pixels
    if found is not None and found.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path}: expected 8- or 16-bit unsigned integer pixels, found {found.dtype}."
        )
    if pixels is None:
        raise DataError(
            f"{path}: the picture is truncated, damaged, too large or of an unsupported kind."
        )
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), has_alpha


def _imdecode(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


@cache
def _warn_of_alpha(path: str | Path) -> None:
    # The cache makes it once per file: pictures are read again for calibration and evaluation.
    _LOGGER.warning("%s: the alpha channel is left out.", path)


def _png_chunks(data: bytes) -> Iterator[bytes]:
    """Types of the chunks that are there in full, up to IEND."""
    position = len(_PNG)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        if position <= len(data):
            yield kind
        if kind == b"IEND":
            return


def _jpeg_is_complete(data: bytes) -> bool:
    """Whether an end marker follows the first scan; what comes after it does not matter."""
    position = 2
    # Segments are stepped over by length, because EXIF thumbnails hold markers of their own.
    while position + 4 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == 0xFF:
            position += 1
            continue
        if data[position + 1] == 0xDA:
            # Scan data have no FFD9 in them: their FF bytes are followed by 00 or RSTn.
            return data.find(b"\xff\xd9", position) >= 0
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False


def _bmp_has_alpha(data: bytes) -> bool:
    """Whether the header names the bits of an alpha channel."""
    if len(data) < 70 or int.from_bytes(data[14:18], "little") < 56:
        return False
    return data[28:30] == b"\x20\0" and any(data[66:70])


def _tiff_without_alpha(data: bytes) -> tuple[bytes, bool]:
    """A TIFF whose colours libtiff takes as they are, and whether it has channels beside colours.

    An alpha declared as unassociated is declared as associated, that is, as multiplied in already.
    """
    try:
        tags = _tiff_tags(data)
    except (struct.error, OverflowError):
        # Damaged: for OpenCV to refuse.
        return data, False
    _, samples = tags.get(277, (0, 1))
    _, photometric = tags.get(262, (0, 1))
    colours = {2: 3, 5: 4, 6: 3, 8: 3}.get(photometric, 1)
    position, extra = tags.get(338, (0, 0))
    if extra == 2:
        order = "<H" if data.startswith(b"II") else ">H"
        data = data[:position] + struct.pack(order, 1) + data[position + 2 :]
    return data, samples > colours


def _tiff_tags(data: bytes) -> dict[int, tuple[int, int]]:
    """Tag -> (position, value) of the first 16-bit value of each such tag of the first page.

    Raises:
        struct.error, OverflowError: the directory is not wholly in the data.
    """
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    start, number, entry = ("8xQ", "Q", "HHQQ") if big else ("4xI", "H", "HHII")
    (directory,) = struct.unpack_from(order + start, data)
    (count,) = struct.unpack_from(order + number, data, directory)
    directory += struct.calcsize(order + number)
    step = struct.calcsize(order + entry)
    field = 8 if big else 4
    tags = {}
    for position in range(directory, directory + count * step, step):
        tag, kind, values, offset = struct.unpack_from(order + entry, data, position)
        if kind == 3:
            where = position + step - field if 2 * values <= field else offset
            tags[tag] = (where, struct.unpack_from(order + "H", data, where)[0])
    return tags
