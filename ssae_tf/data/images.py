"""Image files to arrays and back, with the same pixels wherever the package reads some.

PNG, JPEG, BMP and TIFF are decoded by OpenCV, WebP by Pillow, HEIC by pillow-heif, an extra. What a
decoder would not say in time, or only on stderr, is looked at first (`headers`, `codec`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, WebPImagePlugin

from ssae_tf.data.codec import decode
from ssae_tf.data.headers import READERS, DamagedError, exif_orientation, format_of, read_header
from ssae_tf.data.masks import defective
from ssae_tf.errors import DataError, ImageTooLargeError, InputError, count_of, one_line
from ssae_tf.files import atomic
from ssae_tf.runtime.machine import available_memory

HAS_HEIC = importlib.util.find_spec("pillow_heif") is not None
HEIC_PIP = "pip install 'ssae-tf[heic]'"
_HEIC = frozenset({".heic", ".heif", ".hif"})
# The one place that says which files are images.
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}) | (
    _HEIC if HAS_HEIC else frozenset()
)

# From this size on Pillow, too, takes an image for an attack on memory.
MAX_PIXELS = 178_956_970

_LOGGER = logging.getLogger("ssae_tf")

# Of the memory that is available: what is kept in `decoded_once`.
_KEPT_SHARE = 1 / 16


class _Kept:
    """What `_decode` gave, by path, up to some bytes; what comes later is decoded each time."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._images: dict[str, tuple[np.ndarray, bool]] = {}
        self._lock = threading.Lock()

    def decode(self, path: str | Path) -> tuple[np.ndarray, bool]:
        if (kept := self._images.get(str(path))) is not None:
            return kept
        pixels, has_alpha = _decode(path)
        with self._lock:
            if str(path) not in self._images and pixels.nbytes <= self._left:
                self._left -= pixels.nbytes
                pixels.setflags(write=False)
                self._images[str(path)] = pixels, has_alpha
        return pixels, has_alpha


_kept = _Kept(0)


@contextlib.contextmanager
def decoded_once() -> Iterator[None]:
    """In the block `read_image`, `read_mask` and `image_size` decode a file once.

    What they have decoded is kept, up to a sixteenth of the memory that is available.
    """
    global _kept
    before, _kept = _kept, _Kept(int(_KEPT_SHARE * available_memory()))
    try:
        yield
    finally:
        _kept = before


def is_image_name(path: Path) -> bool:
    """Whether the name ends like an image's, in capitals or not."""
    return path.suffix.lower() in EXTENSIONS


def left_out(paths: Iterable[Path]) -> str:
    """Counts files that are no images, for a person who may have meant them.

    Args:
        paths: files that a folder holds beside its images.

    Returns:
        "4 files left out: 3 .heic (pip install …), 1 .pdf", the most frequent first; "" for none.
    """
    kinds = Counter(path.suffix.lower() for path in paths)
    if not kinds:
        return ""
    counts = [
        f"{number} {kind or 'without an ending'}{f' ({HEIC_PIP})' if kind in _HEIC else ''}"
        for kind, number in kinds.most_common()
    ]
    return f"{count_of(kinds.total(), 'file')} left out: {', '.join(counts)}"


def read_pixels(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an image as its file has it.

    A grey image is repeated to three channels, a palette looked up, CMYK converted; the EXIF
    orientation is applied; of a TIFF with several pages the first is taken. Alpha is left out,
    with a warning on the logger `ssae_tf`, once per file.

    Args:
        path: a PNG, JPEG, BMP, TIFF, WebP or HEIC; the content decides, not the name.
        max_pixels: height times width that is read; the header tells, before memory is taken.

    Returns:
        (H, W, 3) uint8 or uint16, RGB.

    Raises:
        ImageTooLargeError: it has more pixels.
        DataError: missing, no regular file, empty, truncated, damaged, not an image of these
            formats, or with pixels that are not 8- or 16-bit unsigned integers.
    """
    return _without_alpha(*_decode(path, max_pixels), path)


def decode_pixels(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """`read_pixels` of a file's content, wherever it was read.

    Args:
        data: all of the file.
        name: of the image, for messages.
        max_pixels: as in `read_pixels`.

    Raises:
        DataError: as in `read_pixels`.
    """
    return _without_alpha(*_decoded(_format(data[:12], name), data, name, max_pixels), name)


def to_unit(pixels: np.ndarray, white_level: int = 65535) -> np.ndarray:
    """Scales pixels to [0, 1].

    Args:
        pixels: uint8 or uint16, any shape.
        white_level: the uint16 value that becomes 1.0, 1 … 65535; higher ones become 1.0 too.
            Without effect on uint8, where 255 becomes 1.0.

    Returns:
        float32 in [0, 1], the shape of `pixels`.

    Raises:
        InputError: another dtype, or a white level out of range.
    """
    if not 1 <= white_level <= 65535:
        raise InputError(f"Expected a white_level of 1 to 65535. Received: {white_level}.")
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    if pixels.dtype == np.uint16:
        return np.minimum(pixels.astype(np.float32) / np.float32(white_level), np.float32(1))
    raise InputError(f"Expected uint8 or uint16 pixels. Received: {pixels.dtype}.")


def read_image(path: str | Path, white_level: int = 65535) -> np.ndarray:
    """Reads an image as the network takes it.

    Returns:
        (H, W, 3) float32 in [0, 1], RGB.

    Raises:
        DataError: as in `read_pixels`.
    """
    return to_unit(_without_alpha(*_kept.decode(path), path), white_level)


def from_pillow(image: Image.Image) -> np.ndarray:
    """The pixels of an image of Pillow: those of its file, but for what decoders round.

    Returns:
        (H, W, 3) uint8, RGB, or (H, W) uint16; turned as its EXIF orientation says, without alpha.

    Raises:
        DataError: its pixels are neither 8- nor 16-bit.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return np.asarray(upright).astype(np.uint16)
    if upright.mode in ("I", "F"):
        raise DataError(
            f"Expected an image of Pillow of 8 or 16 bits. Received: mode {upright.mode!r}, whose "
            "white level is not known: give an array."
        )
    return np.asarray(upright.convert("RGB"))


def read_mask(path: str | Path) -> np.ndarray:
    """Reads a ground-truth mask.

    Returns:
        (H, W) bool, as `masks.defective` says.

    Raises:
        DataError: as in `read_pixels`.
    """
    return defective(*_kept.decode(path), path)


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width of an image, after its EXIF orientation is applied.

    Raises:
        DataError: as in `read_pixels`.
    """
    height, width = _kept.decode(path)[0].shape[:2]
    return height, width


def write_png(path: Path, array: np.ndarray) -> None:
    """Writes a PNG that is either complete or absent.

    Args:
        path: in a folder that is made if need be; an existing file is replaced.
        array: (H, W, 3) uint8 RGB, (H, W) uint8 grey, or (H, W) bool, written as 0 and 255.

    Raises:
        InputError: an array of another shape or dtype, or without pixels.
        WriteError: the file can't be written.
    """
    encoded = encode_png(array)
    with atomic(path) as temporary:
        temporary.write_bytes(encoded)


def encode_png(array: np.ndarray) -> bytes:
    """The content of a PNG.

    Raises:
        InputError: as in `write_png`.
    """
    grey = array.ndim == 2
    if array.dtype == np.bool_ and grey:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8 or not (grey or array.shape[2:] == (3,)) or not array.size:
        raise InputError(
            "Expected a (H, W, 3) uint8, (H, W) uint8 or (H, W) bool array with pixels. "
            f"Received: {array.shape} {array.dtype}."
        )
    _, encoded = cv2.imencode(".png", array if grey else cv2.cvtColor(array, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def _decode(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[np.ndarray, bool]:
    """RGB pixels as in `read_pixels`, and whether an alpha channel was left out."""
    return _decoded(*_content(path), path, max_pixels)


def _decoded(kind: str, data: bytes, path: str | Path, max_pixels: int) -> tuple[np.ndarray, bool]:
    try:
        if kind in READERS:
            return _by_opencv(kind, data, path, max_pixels)
        return (_webp if kind == "WebP" else _heic)(data, path, max_pixels)
    except DamagedError as error:
        raise DataError(f"{path}: the {kind} {error}.") from error
    except DataError:
        raise
    # Whatever else a decoder makes of a damaged file, one file is one sentence.
    except Exception as error:
        raise DataError(f"{path}: the {kind} can't be decoded ({one_line(error)}).") from error


def _content(path: str | Path) -> tuple[str, bytes]:
    """The format of a file and its bytes; of one that is no image, no more than the first."""
    try:
        mode = os.stat(path).st_mode
        # Reading a pipe waits for ever, and a device may act when it is opened.
        if not stat.S_ISREG(mode):
            raise DataError(f"{path}: expected a file, found a {_kind_of_file(mode)}.")
        with open(path, "rb") as file:
            start = file.read(12)
            return _format(start, path), start + file.read()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}).") from error
    except ValueError as error:
        # A null byte in the name.
        raise DataError(f"{path}: can't be read ({error}).") from error


def _format(start: bytes, path: str | Path) -> str:
    kind = format_of(start)
    if kind is not None:
        return kind
    if not start:
        raise DataError(f"{path}: the file is empty (0 bytes).")
    raise DataError(
        f"{path}: expected a PNG, JPEG, BMP, TIFF, WebP or HEIC image, found something else."
    )


def _kind_of_file(mode: int) -> str:
    kinds = {stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe (FIFO)", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _by_opencv(
    kind: str, data: bytes, path: str | Path, max_pixels: int
) -> tuple[np.ndarray, bool]:
    header = read_header(kind, data)
    _check_size(path, header.height, header.width, max_pixels)
    pixels = decode(kind, header.data)
    if sorted(pixels.shape[:2]) != sorted((header.height, header.width)):
        height, width = pixels.shape[:2]
        raise DamagedError(
            f"is damaged: {width}×{height} pixels, its header says {header.width}×{header.height}"
        )
    if header.is_inverted:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return pixels, header.has_alpha


def _webp(data: bytes, path: str | Path, max_pixels: int) -> tuple[np.ndarray, bool]:
    if len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise DamagedError("is truncated")
    # OpenCV ignores the orientation of these before version 5.
    with WebPImagePlugin.WebPImageFile(io.BytesIO(data)) as image:
        _check_size(path, image.height, image.width, max_pixels)
        pixels = np.asarray(image.convert("RGB"))
        return _upright(pixels, exif_orientation(image.info.get("exif", b""))), "A" in image.mode


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _heic(data: bytes, path: str | Path, max_pixels: int) -> tuple[np.ndarray, bool]:
    if not HAS_HEIC:
        raise DataError(f"{path}: an image in HEIC needs pillow-heif: {HEIC_PIP}.")
    import pillow_heif

    # Images are turned upright as the container says; of HEIC's EXIF orientation the standard says
    # that it is to be ignored.
    image = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    width, height = image.size
    _check_size(path, height, width, max_pixels)
    pixels = np.asarray(image)
    if pixels.dtype == np.uint16:
        # 10 and 12 bits come as the upper ones of 16; repeated below, their white is 65535.
        pixels = pixels | pixels >> image.info["bit_depth"]
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        pixels = np.repeat(pixels.reshape(height, width, -1)[..., :1], 3, axis=-1)
    return np.ascontiguousarray(pixels[..., :3]), bool(image.has_alpha)


def _check_size(path: str | Path, height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ImageTooLargeError(
            f"{path}: {width}×{height} pixels are {height * width:,}, the limit is {max_pixels:,}."
        )


def _without_alpha(pixels: np.ndarray, has_alpha: bool, path: str | Path) -> np.ndarray:
    if has_alpha:
        _warn_of_alpha(path)
    return pixels


@cache
def _warn_of_alpha(path: str | Path) -> None:
    # The cache makes it once per file: images are read again for calibration and evaluation.
    _LOGGER.warning("%s: the alpha channel is left out.", path)
