"""What an encoded image says of itself before it is decoded: PNG, JPEG, BMP and TIFF.

Read here, because no decoder tells it in time: the size before memory is taken, the end of a
truncated file, an alpha channel, and the kinds of 16-bit TIFF that OpenCV reads wrongly.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Tags of TIFF 6.0.
_WIDTH, _LENGTH, _BITS, _PHOTOMETRIC = 256, 257, 258, 262
_ORIENTATION, _SAMPLES, _PLANAR, _EXTRA = 274, 277, 284, 338
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CIELAB = 0, 1, 2, 3, 8
# Photometric interpretation -> channels that OpenCV reads in full depth. It refuses other kinds.
_DEEP_CHANNELS: dict[int, tuple[int, ...]] = {
    _WHITE_IS_ZERO: (1,),
    _BLACK_IS_ZERO: (1, 3, 4),
    _RGB: (3, 4),
    _PALETTE: (),
    _CIELAB: (),
}
# Types of its fields, as struct has them.
_FIELD_TYPES = {3: "H", 4: "I", 16: "Q"}


class DamagedError(Exception):
    """What is wrong with an image, as the predicate of a sentence: "is truncated"."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What must be known before decoding.

    Attributes:
        height, width: pixels as stored, before the EXIF orientation is applied; at least 1.
        data: what OpenCV is to decode.
        has_alpha: whether there are channels beside the colours.
        is_inverted: whether OpenCV leaves 0 for white, so that the pixels must be inverted.
    """

    height: int
    width: int
    data: bytes = dataclasses.field(repr=False)
    has_alpha: bool = False
    is_inverted: bool = False


def format_of(start: bytes) -> str | None:
    """The format that the first 12 bytes of a file tell of; None for one that is not read."""
    if start[4:8] == b"ftyp" and start[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return "HEIC"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    signatures = {"PNG": (_PNG,), "JPEG": (b"\xff\xd8\xff",), "TIFF": _TIFF, "BMP": (b"BM",)}
    return next((name for name, begin in signatures.items() if start.startswith(begin)), None)


def read_header(kind: str, data: bytes) -> Header:
    """Reads the header of a whole file.

    Args:
        kind: a key of `READERS`.
        data: of the file, which begins as `format_of` expects.

    Raises:
        DamagedError: it can't be read, or must not be decoded.
    """
    try:
        header = READERS[kind](data)
    except (struct.error, IndexError, KeyError, OverflowError):
        raise DamagedError("is truncated or has a damaged header") from None
    if header.height < 1 or header.width < 1:
        raise DamagedError(f"has a damaged header: {header.width}×{header.height} pixels")
    return header


def _png(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise DamagedError("has a damaged header")
    width, height, _, colours = struct.unpack_from(">IIBB", data, 16)
    chunks = set(_png_chunks(data))
    if b"IEND" not in chunks:
        raise DamagedError("is truncated")
    return Header(height, width, data, has_alpha=b"tRNS" in chunks or bool(colours & 4))


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


def _jpeg(data: bytes) -> Header:
    """The size in the frame's header; an end marker must follow the first scan."""
    size: tuple[int, int] | None = None
    position = 2
    # Segments are stepped over by length, because EXIF thumbnails hold markers of their own.
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0xDA:
            # Scan data have no FFD9 in them: their FF bytes are followed by 00 or RSTn.
            if size is None or data.find(b"\xff\xd9", position) < 0:
                break
            height, width = size
            return Header(height, width, data)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = struct.unpack_from(">HH", data, position + 5)
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise DamagedError("is truncated or has a damaged header")


def _bmp(data: bytes) -> Header:
    (length,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if length == 12 else "<ii", data, 18)
    # The masks of a V3 header or later name the bits of an alpha channel.
    has_alpha = length >= 56 and data[28:30] == b"\x20\0" and any(data[66:70])
    # Rows from the top down have a negative height.
    return Header(abs(height), width, data, has_alpha)


def _tiff(data: bytes) -> Header:
    """The first page; its colours are for libtiff to take as they are.

    An alpha declared as unassociated is declared as associated, that is, as multiplied in already.
    """
    tags = tiff_tags(data)

    def value(tag: int, default: int) -> int:
        return tags[tag][1] if tag in tags else default

    samples, photometric = value(_SAMPLES, 1), value(_PHOTOMETRIC, _BLACK_IS_ZERO)
    is_deep = 8 < value(_BITS, 1) <= 16
    if is_deep:
        _check_deep_tiff(samples, photometric, is_planar=value(_PLANAR, 1) == 2)
    if value(_EXTRA, 0) == 2:
        order = "<H" if data.startswith(b"II") else ">H"
        position = tags[_EXTRA][0]
        data = data[:position] + struct.pack(order, 1) + data[position + 2 :]
    colours = {_RGB: 3, 5: 4, 6: 3, _CIELAB: 3}.get(photometric, 1)
    return Header(
        tags[_LENGTH][1],
        tags[_WIDTH][1],
        data,
        has_alpha=samples > colours,
        is_inverted=is_deep and photometric == _WHITE_IS_ZERO,
    )


def _check_deep_tiff(samples: int, photometric: int, is_planar: bool) -> None:
    """Refuses what OpenCV would read as other colours, or in 8 bits, without a word."""
    expected = "of more than 8 bits; expected grey, RGB or RGBA, channels beside each other"
    if is_planar and samples > 1:
        raise DamagedError(f"has {samples} separate planes {expected}")
    if samples not in _DEEP_CHANNELS.get(photometric, (samples,)):
        raise DamagedError(
            f"has {samples} channels (photometric interpretation {photometric}) {expected}"
        )


def exif_orientation(exif: bytes) -> int:
    """The orientation that EXIF data ask for, 1 to 8; 1 where they are damaged or name none."""
    try:
        orientation = tiff_tags(exif.removeprefix(b"Exif\0\0")).get(_ORIENTATION, (0, 1))[1]
    except (struct.error, OverflowError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def tiff_tags(data: bytes) -> dict[int, tuple[int, int]]:
    """Tags of the first page, of a TIFF or of EXIF data without their own header.

    Returns:
        Tag -> (position, value) of the first value of each tag of 16 bits or more.

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
        if kind in _FIELD_TYPES and values:
            form = order + _FIELD_TYPES[kind]
            fits = values * struct.calcsize(form) <= field
            where = position + step - field if fits else offset
            tags[tag] = (where, struct.unpack_from(form, data, where)[0])
    return tags


READERS: dict[str, Callable[[bytes], Header]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "BMP": _bmp,
    "TIFF": _tiff,
}
