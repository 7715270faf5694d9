"""Ctrl-C, a terminal that closes and a system that stops: one way to end for all three.

SIGTERM comes from `kill`, `docker stop`, systemd and batch systems, SIGHUP when a terminal closes.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_Handler = Callable[[int, FrameType | None], None]

# Windows has no SIGHUP.
_OTHERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP, where Ctrl-C would be a KeyboardInterrupt.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Noticed:
    """The signal that has come.

    Attributes:
        number: of it; 0 while there is none.
    """

    number = 0


def exit_code(error: BaseException) -> int:
    """What a shell expects of a process that a signal has ended: 128 + its number.

    Args:
        error: a `Stopped`, or any other that may carry `number` or come from one that does; what
            carries none is Ctrl-C.
    """
    number = getattr(error, "number", None) or getattr(error.__cause__, "number", None)
    return 128 + int(number or signal.SIGINT)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped`, as Ctrl-C raises KeyboardInterrupt: all is tidied up."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise Stopped(number)

    # What somebody else handles or, as nohup does, ignores, stays so.
    wanted = [number for number in _OTHERS if _handler(number) is signal.SIG_DFL]
    with _handled(wanted, stop):
        yield


@contextlib.contextmanager
def noticed(then: Callable[[int], None] | None = None) -> Iterator[Noticed]:
    """The first signal is only noticed, to be looked at when it suits; a second one counts."""
    signalled = Noticed()
    previous: dict[int, object] = {}

    def notice(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for one, handler in previous.items():
            signal.signal(one, handler)  # type: ignore[arg-type]
        signalled.number = number
        if then is not None:
            then(number)

    wanted = [signal.SIGINT, *(n for n in _OTHERS if _handler(n) is not signal.SIG_IGN)]
    previous.update({number: _handler(number) for number in wanted})
    with _handled(wanted, notice):
        yield signalled


def _handler(number: int) -> object:
    return signal.getsignal(number)


@contextlib.contextmanager
def _handled(numbers: list[int], handler: _Handler) -> Iterator[None]:
    """Has signals handled; a thread that is not the main one leaves them alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
