"""Progress of long work: a live bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import Counter

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ssae_tf.errors import printable
from ssae_tf.runtime.streams import for_people

# Without a terminal a line is printed at most this often, seconds.
_LINE_INTERVAL = 15.0
# Of one kind of warning, during one task.
_MAX_WARNINGS = 3

_LOGGER = logging.getLogger("ssae_tf")


class Reporter:
    """Tells a person what is going on, on stderr; silent when `quiet`."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self.quiet = quiet
        # Never fails: training goes on where nobody listens.
        self.console = console or Console(
            file=for_people(sys.stderr), highlight=False, soft_wrap=True
        )

    def say(self, message: str) -> None:
        """One line of plain text."""
        if not self.quiet:
            self.console.print(printable(message), markup=False, emoji=False)

    def warn(self, message: str) -> None:
        """One line that is shown even when quiet: something is not as expected."""
        line = f"Warning: {printable(message)}"
        self.console.print(line, style="yellow", markup=False, emoji=False)

    def task(self, description: str, total: int, done: int = 0) -> Task:
        """Work of `total` steps, `done` of them before; use it in a `with` block."""
        return Task(self, description, total, done)


class Task:
    """One piece of long work; what is logged of many files meanwhile is summed up at its end."""

    def __init__(self, reporter: Reporter, description: str, total: int, done: int) -> None:
        self._reporter = reporter
        self._description = description
        self._total = total
        self._first = self._done = done
        is_terminal = reporter.console.is_terminal and not reporter.console.is_dumb_terminal
        self._live = is_terminal and not reporter.quiet
        self._note = ""
        self._start = self._told = self._first_end = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=reporter.console,
            disable=not self._live,
            transient=True,
            # Results that go to a file or a pipe would land on the terminal instead.
            redirect_stdout=for_people(sys.stdout).isatty(),
        )
        self._id = self._bar.add_task(description, total=total, completed=done, note="")
        self._summary = _Summary()

    def __enter__(self) -> Task:
        self._start = self._told = time.monotonic()
        self._bar.start()
        _LOGGER.addFilter(self._summary)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        _LOGGER.removeFilter(self._summary)
        self._summary.tell()

    @property
    def pace(self) -> float:
        """Steps a second after the first, which may compile; 0 before there is another."""
        steps = self._done - self._first - 1
        passed = time.monotonic() - self._first_end
        return steps / passed if steps > 0 and passed > 0 else 0.0

    def advance(self, note: str = "") -> None:
        """One step is done; `note` is shown behind the bar or on the line."""
        self._done += 1
        self._note = note or self._note
        self._bar.update(self._id, completed=self._done, note=self._note)
        now = time.monotonic()
        if self._done == self._first + 1:
            self._first_end = now
        if self._live or self._reporter.quiet:
            return
        # Ever rarer, so that hours of work make a log that can be read.
        if now - self._told >= max(_LINE_INTERVAL, (now - self._start) / 20):
            self._told = now
            parts = [f"{self._description}: {self._done}/{self._total}"]
            if self.pace > 0:
                parts.append(f"{duration((self._total - self._done) / self.pace)} left")
            self._reporter.say(", ".join([*parts, *filter(None, [self._note])]))


class _Summary(logging.Filter):
    """Holds back what is logged more than three times with other arguments, and counts it."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()
        self._last: dict[str, str] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        kind = str(record.msg)
        # Images are read in several threads.
        with self._lock:
            self._counts[kind] += 1
            self._last[kind] = record.getMessage()
            return self._counts[kind] <= _MAX_WARNINGS

    def tell(self) -> None:
        """Logs how many of each kind were held back."""
        for kind, count in self._counts.items():
            if count > _MAX_WARNINGS:
                more = count - _MAX_WARNINGS
                _LOGGER.warning("… and %d more, the last: %s", more, self._last[kind])


def duration(seconds: float) -> str:
    """A length of time as a person says it: "40 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
