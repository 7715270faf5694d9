"""The standard streams as they are found: closed, missing, in an encoding of few characters, deaf.

And what other people's code writes to stderr, held back.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, TextIO, cast

from ssae_tf.errors import RunError

# What is written in place of characters that a stream's encoding lacks; others are escaped.
# fmt: off
_PLAIN = {
    "→": "->", "−": "-", "–": "-", "…": "...", "×": "x", "·": "-", "±": "+-", "≤": "<=", "≥": ">=",
    "¹": "^1", "²": "^2", "³": "^3", "⁴": "^4", "₁": "_1", "₂": "_2", "½": "1/2", "‖": "||",
    "“": '"', "”": '"', "†": "+", "λ": "lambda", "σ": "sigma", "\u0302": "",
}
# fmt: on
_PLAIN_ERRORS = "ssae_tf_plain"


class ReaderGone(Exception):
    """Nobody reads stdout any more: `| head -1` has what it wanted."""


class Stream(io.TextIOBase):
    """A text stream that takes every string, around one that may lack what streams should have.

    Args:
        stream: to write to; None, or a closed one, takes everything and keeps nothing.
        is_vital: a failed write raises; False for what a person may or may not be there to read.
    """

    def __init__(self, stream: TextIO | None, *, is_vital: bool) -> None:
        self._stream = None if stream is None or getattr(stream, "closed", False) else stream
        self._is_vital = is_vital
        self._error: Exception | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """UTF-8 where the stream does not say."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """False where the stream does not say."""
        ask = getattr(self._stream, "isatty", None)
        return bool(ask and ask())

    def fileno(self) -> int:
        """The file descriptor, if the stream has one."""
        ask = getattr(self._stream, "fileno", None)
        return ask() if ask else super().fileno()

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Writes; characters that the encoding lacks become others that say the same.

        Raises:
            ReaderGone, RunError: the stream is vital, and can't be written to.
        """
        plain = text.encode(self.encoding, _PLAIN_ERRORS).decode(self.encoding)
        with self._failing():
            if self._stream is not None:
                self._stream.write(plain)
        return len(text)

    def flush(self) -> None:
        """Hands on what was written; raises as `write` does."""
        with self._failing():
            if self._stream is not None:
                self._stream.flush()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._let_go()
            if isinstance(error, BrokenPipeError):
                self._error = ReaderGone()
            else:
                self._error = RunError(f"stdout: can't be written to ({error.strerror}).")
        if self._error is not None and self._is_vital:
            # Again and again, whoever catches it.
            raise self._error from None

    def _let_go(self) -> None:
        """Sends what the stream still holds to the null device: it would fail once more at exit."""
        with contextlib.suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
        self._stream = None


def for_people(stream: TextIO | None) -> TextIO:
    """A stream for messages, which never fails."""
    deaf = stream if isinstance(stream, Stream) else Stream(stream, is_vital=False)
    return cast(TextIO, deaf)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Puts a `Stream` in place of sys.stdout, which is vital, and of sys.stderr, which is not."""
    out, err = Stream(sys.stdout, is_vital=True), for_people(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def open_missing() -> None:
    """Opens the null device in place of standard streams that are closed.

    Else the next file would get their number, and be written into as if it were stdout.
    """
    # The lowest free number is taken.
    while (null := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(null, True)
    os.close(null)


@contextlib.contextmanager
def stderr_held_back() -> Iterator[None]:
    """Collects what is written to file descriptor 2, and writes it out only after an exception."""
    _flush_stderr()
    try:
        terminal = os.dup(2)
    except OSError:
        # It is closed, and holds everything back.
        yield
        return
    with unnamed_file() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            _flush_stderr()
            held.seek(0)
            with contextlib.suppress(OSError):
                os.write(terminal, held.read())
            raise
        finally:
            _flush_stderr()
            os.dup2(terminal, 2)
            os.close(terminal)


def _flush_stderr() -> None:
    for_people(sys.stderr).flush()


def unnamed_file() -> BinaryIO:
    """A file in memory where the system has such: disks may be full, or have no folder for it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()


def _plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: see `_PLAIN`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(
        _PLAIN.get(one, one.encode("ascii", "backslashreplace").decode()) for one in lacking
    ), error.end


codecs.register_error(_PLAIN_ERRORS, _plain)
