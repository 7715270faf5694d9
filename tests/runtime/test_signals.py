"""SIGINT, SIGTERM and SIGHUP end the same way."""

from __future__ import annotations

import signal
import threading

import pytest

from ssae_tf.runtime.signals import Stopped, exit_code, noticed, raised

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _handlers() -> object:
    """Those of a program that nobody has changed; they have to be back after each test."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in NUMBERS[1:]:
        signal.signal(number, signal.SIG_DFL)
    usual = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    after = {number: signal.getsignal(number) for number in NUMBERS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == usual


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_an_interruption_with_its_code(number: int) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, raised():
        signal.raise_signal(number)
    assert exit_code(caught.value) == 128 + number


def test_the_code_comes_through_another_error() -> None:
    error = RuntimeError()
    error.__cause__ = Stopped(signal.SIGHUP)
    assert exit_code(error) == 129
    assert exit_code(RuntimeError()) == 130


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with raised(), noticed() as found:
        signal.raise_signal(signal.SIGHUP)
    assert found.number == 0
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_is_noticed_and_the_second_counts(number: int) -> None:
    told: list[int] = []
    with raised(), noticed(told.append) as found:
        signal.raise_signal(number)
        assert (found.number, told) == (number, [number])
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert told == [number]


def test_other_threads_leave_signals_alone() -> None:
    seen = []

    def look() -> None:
        with raised(), noticed():
            seen.extend(signal.getsignal(number) for number in NUMBERS)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(number) for number in NUMBERS]
