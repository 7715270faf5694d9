"""Standard streams that lack what one expects of them."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from ssae_tf.errors import RunError
from ssae_tf.progress import Reporter
from ssae_tf.runtime.streams import ReaderGone, Stream, standard_streams, stderr_held_back


class Tee:
    """As in notebooks: no encoding, isatty or fileno."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def _encoded(encoding: str) -> Any:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)


def _failing(number: int) -> Any:
    class Failing(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(number, os.strerror(number))

    return Failing()


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", rb"3x3, 32^2 -> X, lambda \xe9 \u691c \udce9"),
        ("cp1252", b"3\xd73, 32\xb2 -> X, lambda \xe9 \\u691c \\udce9"),
        ("utf-8", "3×3, 32² → X̂, λ é 検 ".encode() + rb"\udce9"),
    ],
)
def test_characters_that_an_encoding_lacks_are_replaced(encoding: str, written: bytes) -> None:
    stream = _encoded(encoding)
    Stream(stream, is_vital=True).write("3×3, 32² → X̂, λ é 検 \udce9")
    assert stream.buffer.getvalue() == written


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_tables_have_plain_lines_where_the_encoding_lacks_others(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = _encoded(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    table = Table("kernel")
    table.add_row("3×3 → 1")
    with standard_streams():
        Console().print(table)
    text = stream.buffer.getvalue().decode(encoding)
    assert "+---------+" in text
    assert " -> 1" in text


@pytest.mark.parametrize("kind", ["tee", "None", "closed"])
def test_any_standard_stream_will_do(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    stream: Any = {"tee": Tee(), "None": None, "closed": closed}[kind]
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    reporter = Reporter()
    reporter.warn("32² pixels")
    with reporter.task("Working", 2) as task:
        task.advance()
    with standard_streams():
        sys.stdout.write("a result\n")
        assert not sys.stdout.isatty()
    assert sys.stdout is stream
    if kind == "tee":
        assert stream.text == "Warning: 32² pixels\na result\n"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_training_goes_on_where_nobody_can_listen(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", _failing(number))
    reporter = Reporter()
    for _ in range(2):
        reporter.say("a line")


def test_results_that_can_not_be_written_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    full, gone = (
        Stream(_failing(errno.ENOSPC), is_vital=True),
        Stream(_failing(errno.EPIPE), is_vital=True),
    )
    for _ in range(2):
        with pytest.raises(RunError, match=r"^stdout: can't be written to \(No space left on dev"):
            full.write("a")
        with pytest.raises(ReaderGone):
            gone.write("a")


def test_where_stderr_is_closed_nothing_is_held_back(tmp_path: Path) -> None:
    kept = os.dup(2)
    os.close(2)
    try:
        with stderr_held_back():
            pass
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_messages_escape_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter().say("a\nb\x1b[2J\x9b\u202e\udce9/検査 é.png")
    assert capsys.readouterr().err == "a\\nb\\x1b[2J\\x9b\\u202e\\udce9/検査 é.png\n"
