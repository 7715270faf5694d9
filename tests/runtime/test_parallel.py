"""Stages that run at the same time: order, overlap, errors, and whoever stops early."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from ssae_tf.runtime.parallel import ahead


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("length", [0, 1, 2, 50])
def test_results_in_order(threads, length):
    squares = ahead(lambda x: x * x, range(length), threads)
    assert list(ahead(str, squares, threads)) == [str(x * x) for x in range(length)]


def test_stages_run_at_the_same_time():
    """The second stage's first item is worked on only once the first stage has begun another."""
    begun = threading.Event()

    def first(x):
        if x == 1:
            begun.set()
        return x

    def second(x):
        assert begun.wait(timeout=30)
        return x

    assert list(ahead(second, ahead(first, range(4), 1), 1)) == [0, 1, 2, 3]


def test_few_items_in_advance():
    taken = []

    def items():
        for x in count():
            taken.append(x)
            yield x

    results = ahead(lambda x: x, items(), 2)
    assert next(results) == 0
    assert len(taken) == 3
    results.close()


def test_an_error_comes_with_its_result():
    def reciprocal(x):
        return 1 / x

    results = ahead(reciprocal, [1, 2, 0, 4], 1)
    assert [next(results), next(results)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_behind_the_results_before_it(threads):
    """Of an earlier stage too, whatever the later one has begun by then."""

    def reciprocal(x):
        return 1 / x

    results = ahead(str, ahead(reciprocal, [1, 2, 4, 5, 0, 8], threads), 1)
    found = []
    with pytest.raises(ZeroDivisionError):
        found.extend(results)
    assert found == ["1.0", "0.5", "0.25", "0.2"]


def test_what_has_not_begun_is_left_out_when_no_one_takes_it():
    gate, seen = threading.Event(), []

    def wait(x):
        seen.append(x)
        assert x == 0 or gate.wait(timeout=30)
        return x

    results = ahead(wait, range(100), 1)
    assert next(results) == 0
    threading.Timer(0.2, gate.set).start()
    results.close()
    # The first, and the one that was being worked on.
    assert len(seen) <= 2


def test_a_stage_that_fails_ends_the_stages_before_it_at_once() -> None:
    ended = []

    def before() -> Iterator[int]:
        try:
            yield from range(9)
        finally:
            ended.append(threading.current_thread())

    def fail(_: int) -> None:
        raise ValueError("no")

    first = before()
    with pytest.raises(ValueError, match="no"):
        list(ahead(fail, first, 1))
    # `first` is still held, so that no garbage collector has ended it.
    assert ended == [threading.current_thread()]
