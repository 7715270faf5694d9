"""The figures of training steps, fetched from the device now and then.

A number that the host asks for after every step has a GPU wait for the host. Fetched are the
figures of 20 steps at once, or of a second where steps are slow, so that these are told of as they
come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ssae_tf.training.step import Figures

_STEPS, _SECONDS = 20, 1.0


class RecentFigures:
    """Loss and errors of the steps since the last evaluation.

    Attributes:
        known: those that are fetched, one list of numbers a step, in order.
    """

    def __init__(self, check: Callable[[Sequence[float], int], None]) -> None:
        """Starts without any.

        Args:
            check: called for every step, in order, with its figures and its number; raises where
                training must not go on.
        """
        self.known: list[list[float]] = []
        self._check = check
        self._waiting: list[tuple[int, Figures]] = []
        self._fetched = time.monotonic()

    def add(self, step: int, figures: Figures) -> None:
        """Keeps the figures of a finished step, and fetches if it is time to."""
        self._waiting.append((step, figures))
        if len(self._waiting) >= _STEPS or time.monotonic() - self._fetched >= _SECONDS:
            self.fetch()

    def fetch(self) -> None:
        """Fetches and checks what waits."""
        waiting, self._waiting = self._waiting, []
        for step, figures in waiting:
            numbers = [float(figure) for figure in figures]
            self._check(numbers, step)
            self.known.append(numbers)
        self._fetched = time.monotonic()

    def clear(self) -> None:
        """Forgets those that are fetched."""
        self.known = []
