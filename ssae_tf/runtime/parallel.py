"""Stages of work on many things that run at the same time, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def ahead(function: Callable[[_T], _R], items: Iterable[_T], threads: int) -> Iterator[_R]:
    """Applies a function to items on threads of its own, a few items ahead of who takes them.

    Stages are chained: what one gives is the next one's items.

    Args:
        function: of an item; what it raises is raised when its result is taken.
        items: taken in the caller's thread, one more than there are threads in advance. An error
            there is raised once the results of the items before it are taken.

    Yields:
        The results, in the order of the items.
    """
    source = iter(items)
    failure: Exception | None = None
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_R]] = deque()
        try:
            while True:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                    break
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Whoever stops early waits for nothing that has not begun.
            pool.shutdown(wait=True, cancel_futures=True)
            # A stage before ends here, and not wherever the garbage collector finds it: a thread of
            # its own can't wait for itself.
            if isinstance(source, Generator):
                source.close()
    if failure is not None:
        raise failure
