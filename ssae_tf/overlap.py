"""Stages of work on many things that run at the same time, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def ahead(function: Callable[[_T], _R], items: Iterable[_T], threads: int) -> Iterator[_R]:
    """Applies a function to items on threads of its own, a few items ahead of who takes them.

    Stages are chained: what one gives is the next one's items.

    Args:
        function: of an item; what it raises is raised when its result is taken.
        items: taken in the caller's thread, two for each thread in advance.
        threads: how many run at a time.

    Yields:
        The results, in the order of the items.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Whoever stops early waits for nothing that has not begun.
            pool.shutdown(wait=True, cancel_futures=True)
