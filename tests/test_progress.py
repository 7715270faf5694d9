"""What a person is told: lines, warnings, a bar on a terminal, and silence."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable

import pytest
from rich.console import Console

from ssae_tf import progress
from ssae_tf.progress import Reporter, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Replaces the clock; the function it gives lets time pass."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


@pytest.fixture
def terminal() -> Reporter:
    """A reporter on a terminal that is a string."""
    return Reporter(console=Console(file=io.StringIO(), force_terminal=True, width=100))


def _written(reporter: Reporter) -> str:
    assert isinstance(reporter.console.file, io.StringIO)
    return reporter.console.file.getvalue()


def test_lines_go_to_stderr_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a [bold]line[/] about /data/:key:/x.png, " + "long " * 40 + "1.5"
    Reporter().say(text)
    Reporter().warn(text)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"{text}\nWarning: {text}\n"


def test_of_many_warnings_of_a_kind_a_task_shows_three(
    caplog: pytest.LogCaptureFixture, clock: Callable[[float], None]
) -> None:
    log = logging.getLogger("ssae_tf")
    with Reporter(quiet=True).task("Reading", 50):
        for number in range(44):
            log.warning("%s.png: marks %d %%", number, 90)
            if number < 3:
                log.warning("%s.png: alpha", number)
    log.warning("%s.png: marks %d %%", 44, 90)
    assert [record.getMessage() for record in caplog.records] == [
        "0.png: marks 90 %",
        "0.png: alpha",
        "1.png: marks 90 %",
        "1.png: alpha",
        "2.png: marks 90 %",
        "2.png: alpha",
        "… and 41 more, the last: 43.png: marks 90 %",
        "44.png: marks 90 %",
    ]


def test_warnings_are_summed_up_when_a_task_fails(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("ssae_tf")

    def read() -> None:
        with Reporter(quiet=True).task("Reading", 5):
            for number in range(5):
                log.warning("%s.png: alpha", number)
            raise KeyError

    with pytest.raises(KeyError):
        read()
    assert caplog.messages[3:] == ["… and 2 more, the last: 4.png: alpha"]
    assert not log.filters


def test_quiet_keeps_warnings_alone(
    capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    reporter = Reporter(quiet=True)
    reporter.say("a line")
    with reporter.task("Working", 2) as task:
        for _ in range(2):
            clock(100)
            task.advance()
    assert capsys.readouterr() == ("", "")
    reporter.warn("odd")
    assert capsys.readouterr() == ("", "Warning: odd\n")


def test_without_a_terminal_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    with Reporter().task("Working", 100) as task:
        for _ in range(5):
            clock(4)
            task.advance("loss 0.5")
    assert capsys.readouterr() == ("", "Working: 4/100, 6 min left, loss 0.5\n")


def test_work_taken_up_again_is_not_counted_in_the_pace(
    capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    with Reporter().task("Working", 100, done=90) as task:
        for _ in range(2):
            assert task.pace == 0
            clock(20)
            task.advance()
        assert task.pace == pytest.approx(1 / 20)
    assert capsys.readouterr().err == "Working: 91/100\nWorking: 92/100, 3 min left\n"


def test_the_first_step_which_compiles_foretells_nothing(
    capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    with Reporter().task("Working", 100) as task:
        clock(60)
        task.advance("loss 0.5")
        for _ in range(16):
            clock(1)
            task.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["Working: 1/100, loss 0.5", "Working: 16/100, 84 s left, loss 0.5"]


def test_a_bar_on_a_terminal(terminal: Reporter) -> None:
    with terminal.task("Working [bold]", 3) as task:
        task.advance("loss 0.5")
    written = _written(terminal)
    assert "Working [bold]" in written
    assert "1/3" in written
    assert "loss 0.5" in written


def test_no_bar_when_quiet(terminal: Reporter) -> None:
    terminal.quiet = True
    with terminal.task("Working", 3) as task:
        task.advance()
    assert _written(terminal) == ""


def test_results_in_a_file_are_not_taken_by_the_bar(
    terminal: Reporter, capsys: pytest.CaptureFixture[str]
) -> None:
    with terminal.task("Working", 3) as task:
        sys.stdout.write("a result\n")
        task.advance()
    assert capsys.readouterr().out == "a result\n"
    assert "a result" not in _written(terminal)


def test_results_on_the_same_terminal_go_above_the_bar(
    terminal: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with terminal.task("Working", 3):
        sys.stdout.write("a result\n")
    assert "a result" in _written(terminal)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (7169, "119 min"),
        (7200, "2 h 0 min"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations_as_one_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
