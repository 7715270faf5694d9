"""The package's exceptions: each carries one sentence saying what, where and what was expected."""

from __future__ import annotations

import unicodedata

# Categories of Unicode: controls, invisible formatting, undecodable bytes, line and paragraph ends.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class SsaeError(Exception):
    """Base of the errors that a user can cause or mend; printed without traceback."""


class ConfigError(SsaeError, ValueError):
    """A setting has a value, or a file of settings a key, that the package does not accept."""


class InputError(SsaeError, ValueError):
    """An argument of a function has a value that the function does not accept."""


class DataError(SsaeError):
    """A folder or image is missing, unreadable or not in the expected layout."""


class ImageTooLargeError(DataError):
    """An image has more pixels than the limit."""


class RunError(SsaeError):
    """A run folder is missing, incomplete, or would be overwritten."""


class WriteError(RunError):
    """A file can't be written: the disk is full or read-only, or permissions are missing."""


class MissingExtraError(SsaeError, ImportError):
    """An optional dependency is absent; the message gives the pip line that gets it."""


def one_line(error: Exception) -> str:
    """An exception nobody foresaw, in one line: TensorFlow's messages run to pages."""
    lines = str(error).strip().splitlines()
    first = lines[0].strip() if lines else ""
    if len(first) > 300:
        first = first[:299] + "…"
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def count_of(count: int, noun: str) -> str:
    """As in "1 image" or "3 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """Text in one line, with escapes for what a terminal would obey: names of files may hold it."""
    if text.isprintable():
        return text
    return "".join(
        one.encode("unicode_escape").decode() if unicodedata.category(one) in _UNPRINTABLE else one
        for one in text
    )
