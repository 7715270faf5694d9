"""OpenCV's decoder, with what the libraries below it would print as part of its answer.

libjpeg and libtiff put grey or black for data that they can't follow, and a line on stderr, or in
OpenCV's log, is all they say of that.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator

import cv2
import numpy as np

from ssae_tf.data.headers import DamagedError
from ssae_tf.runtime.streams import unnamed_file

# IMREAD_UNCHANGED would keep the depth too, but ignores the EXIF orientation.
_AS_DECODED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH

# Of its warnings libjpeg prints the first only. Cameras pad frames to an even length, and colour
# profiles are not used.
_HARMLESS = r"(?!.*(: [12] extraneous bytes before marker 0xd9|bad ICC marker|Decode: Old-style))"
_DAMAGE = {
    "JPEG": _HARMLESS
    + r"(Corrupt JPEG data|Premature end of JPEG|Invalid SOS|Inconsistent progression).*",
    "PNG": r"(?<=libpng error: ).*",
    # Of libtiff the decompression's: its other warnings are mostly of tags that it does not know.
    "TIFF": _HARMLESS
    + r"((\w+Decode\w*|JPEGLib): |TIFFFill(Strip|Tile): .*error|Using code not yet).*",
}
# Lines that begin so; OpenCV's log goes on behind "> ".
_LIBRARIES = re.compile(
    rb"\s*$|> |\[ ?(ERROR|WARN|INFO|DEBUG):|OpenCV TIFF|libpng (warning|error)|Corrupt JPEG|"
    rb"Premature end of JPEG|Invalid SOS|Inconsistent progr|Unknown Adobe color|Warning: unknown JF"
)

# OpenCV 5 moved the module.
_logging = getattr(getattr(cv2, "utils", cv2), "logging", cv2)
_SILENT, _DEBUG = 0, 5
# Every failure becomes a DataError, so OpenCV's own lines on stderr say it twice.
if "OPENCV_LOG_LEVEL" not in os.environ:
    _logging.setLogLevel(_SILENT)

# File descriptor 2 belongs to the process, and so does the log level: one thread decodes at a time.
_LOCK = threading.Lock()


def decode(kind: str, data: bytes) -> np.ndarray:
    """Decodes an image.

    Args:
        kind: "PNG", "JPEG", "BMP" or "TIFF".

    Returns:
        (H, W, 3) RGB, uint8 or uint16 as the file has it; the EXIF orientation is applied.

    Raises:
        DamagedError: it is damaged, or of a kind that is not read.
        MemoryError: there is not enough.
    """
    pixels, said = _imdecode(kind, data, _AS_DECODED)
    decoded = pixels
    if pixels is None:
        # Grey TIFFs of floats and 32-bit integers fail in the first reading.
        decoded, _ = _imdecode(kind, data, cv2.IMREAD_UNCHANGED)
    if decoded is not None and decoded.dtype not in (np.uint8, np.uint16):
        raise DamagedError(f"has {decoded.dtype} pixels; expected 8- or 16-bit unsigned integers")
    if kind in _DAMAGE and (reason := re.search(_DAMAGE[kind], "\n".join(said))):
        raise DamagedError(f"is truncated or damaged ({reason[0].rstrip('.')})")
    if pixels is None:
        raise DamagedError("is truncated, damaged or of an unsupported kind")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _imdecode(kind: str, data: bytes, flags: int) -> tuple[np.ndarray | None, list[str]]:
    """What OpenCV makes of the data, and what the libraries below it say, in lines."""
    with _stderr_taken() as said, _log_level(_DEBUG if kind == "TIFF" else None):
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError("not enough for the decoded pixels") from None
            pixels = None
    return pixels, said


@contextlib.contextmanager
def _log_level(level: int | None) -> Iterator[None]:
    """Another level of OpenCV's log, which is where it puts what libtiff says; None for its own."""
    if level is None:
        yield
        return
    before = _logging.getLogLevel()
    _logging.setLogLevel(level)
    try:
        yield
    finally:
        _logging.setLogLevel(before)


@contextlib.contextmanager
def _stderr_taken() -> Iterator[list[str]]:
    """Gives a list that holds, after the block, the lines of libraries in it.

    What other threads have written to stderr meanwhile is written there behind it.
    """
    said: list[str] = []
    with _LOCK, unnamed_file() as taken:
        try:
            stderr = os.dup(2)
        except OSError:
            # The process has closed it.
            stderr = None
        os.dup2(taken.fileno(), 2)
        try:
            yield said
        finally:
            if stderr is None:
                os.close(2)
            else:
                os.dup2(stderr, 2)
                os.close(stderr)
        taken.seek(0)
        for line in taken:
            if _LIBRARIES.match(line):
                said.append(line.decode("ascii", "replace").strip())
            elif stderr is not None:
                os.write(2, line)
