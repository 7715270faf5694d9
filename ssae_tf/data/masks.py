"""What counts as a defect in the file of a mask, whatever tool has written it."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from ssae_tf.data.headers import format_of
from ssae_tf.errors import DataError

_LOGGER = logging.getLogger("ssae_tf")

# Values of the tag Compression.
_JPEG_IN_TIFF = (6, 7)


def defective(pixels: np.ndarray, has_alpha: bool, path: str | Path) -> np.ndarray:
    """Which pixels of a mask are defects.

    Any value but zero is one; in a file compressed with loss, values above half of its highest are,
    with a warning on the logger `ssae_tf`, once. What an alpha channel hides is no defect; where it
    hides all of them, or there are none, the channel itself is the mask. One that is the same
    everywhere says nothing.

    Args:
        pixels: (H, W, 3) uint8 or uint16, the file's colours.

    Returns:
        (H, W) bool.

    Raises:
        DataError: the alpha channel can't be read.
    """
    data = Path(path).read_bytes()
    values = pixels.max(axis=-1)
    compression = lossy_compression(data)
    if compression:
        _warn_of_loss(path, compression)
    mask: np.ndarray = values > (values.max() / 2 if compression else 0)
    if not has_alpha:
        return mask
    shown = _alpha(data, path) > 0
    if shown.all() or not shown.any():
        return mask
    return mask & shown if (mask & shown).any() else shown


def lossy_compression(data: bytes) -> str:
    """Name of the compression by which an image file has lost its exact values, "" for none."""
    kind = format_of(data[:12])
    if kind in ("JPEG", "HEIC") or (kind == "WebP" and b"VP8 " in data[12:]):
        return kind
    if kind == "TIFF":
        # What Pillow can't read at all is not JPEG.
        with (
            contextlib.suppress(SyntaxError),
            TiffImagePlugin.TiffImageFile(io.BytesIO(data)) as image,
        ):
            return "JPEG" if image.tag_v2.get(259) in _JPEG_IN_TIFF else ""
    return ""


@functools.cache
def _warn_of_loss(path: str | Path, compression: str) -> None:
    # The cache makes it once per file: masks are read again for evaluation and sheets.
    _LOGGER.warning(
        "%s: a mask compressed with loss (%s): values above half of its highest count as defects; "
        "PNG keeps masks as they are.",
        path,
        compression,
    )


def _alpha(data: bytes, path: str | Path) -> np.ndarray:
    """The alpha channel, (H, W) uint8, turned as the EXIF orientation says.

    Pillow's, because OpenCV either leaves the channel out or ignores the orientation.

    Raises:
        DataError: it can't be read.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            turned = ImageOps.exif_transpose(image)
            return np.asarray(turned.convert("RGBA").getchannel("A"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: what it has beside its colours can't be read; PNG keeps masks as they are."
        ) from error
