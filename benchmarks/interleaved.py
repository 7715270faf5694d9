"""Times calls in turn, so that a busy moment strikes all alike; some of them in other processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

# Takes a step and says how many seconds it took.
Timed = Callable[[], float]

_PRODUCT = 2048


def here(call: Callable[[], object]) -> Timed:
    """A call in this process."""

    def timed() -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin

    return timed


def medians(timed: Mapping[str, Timed], rounds: int) -> dict[str, float]:
    """Seconds by name, the median of some rounds; one before them warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for index in range(rounds + 1):
        for name, call in timed.items():
            passed = call()
            if index:
                seconds[name].append(passed)
    return {name: statistics.median(values) for name, values in seconds.items()}


def in_turn(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """`medians` of calls in this process."""
    return medians({name: here(call) for name, call in calls.items()}, rounds)


def matrix_product() -> Callable[[], object]:
    """The machine's ceiling: a product of large float32 matrices."""
    square = tf.constant(np.random.default_rng(0).random((_PRODUCT, _PRODUCT), dtype=np.float32))
    return lambda: tf.matmul(square, square).numpy()


def product_rate(seconds: float) -> float:
    """Floating-point operations a second of a `matrix_product` that took so long."""
    return 2 * _PRODUCT**3 / seconds


class Child:
    """A process that says what it is in a line of JSON, and takes a step for every line it reads.

    Attributes:
        about: what it said of itself.
    """

    def __init__(self, command: list[str]) -> None:
        """Starts the process.

        Args:
            command: its program and arguments.

        Raises:
            SystemExit: it ended without a word.
        """
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.about: dict[str, Any] = json.loads(self._answer())
        except ValueError:
            raise SystemExit(f"No answer from {' '.join(command)}") from None

    def __call__(self) -> float:
        """The seconds of a step."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()
