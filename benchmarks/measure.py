"""How the scripts of this folder measure, and what they keep.

TensorFlow is imported where it is needed: `torch_peers.py` runs in an environment without it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ssae_tf.config import RunConfig

# Takes a step and says how many seconds it took.
Timed = Callable[[], float]

_PRODUCT = 2048


def here(call: Callable[..., object], *arguments: object) -> Timed:
    """A call in this process."""

    def timed() -> float:
        begin = time.perf_counter()
        call(*arguments)
        return time.perf_counter() - begin

    return timed


def medians(timed: Mapping[str, Timed], rounds: int) -> dict[str, float]:
    """Seconds by name, the median of some rounds; one before them warms up.

    Calls take turns, so that a busy moment strikes all alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for index in range(rounds + 1):
        for name, call in timed.items():
            passed = call()
            if index:
                seconds[name].append(passed)
    return {name: statistics.median(values) for name, values in seconds.items()}


def matrix_product() -> Callable[[], object]:
    """The machine's ceiling: a product of large float32 matrices."""
    import tensorflow as tf

    square = tf.constant(np.random.default_rng(0).random((_PRODUCT, _PRODUCT), dtype=np.float32))
    return lambda: tf.matmul(square, square).numpy()


def product_rate(seconds: float) -> float:
    """Floating-point operations a second of a `matrix_product` that took so long."""
    return 2 * _PRODUCT**3 / seconds


def peak() -> float:
    """The most memory that this process has had at a time, MiB; on Linux.

    Not `getrusage`: its figure begins with that of the process it was started from.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**10


def corrupted_images(batch: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, X̂ and M for a step, (B, H, W, 3) float32; the same everywhere."""
    rng = np.random.default_rng(0)
    shape = (batch, side, side, 3)
    x, other = rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32)
    mask = np.zeros(shape, np.float32)
    mask[:, side // 4 : side // 2, side // 4 : side // 2] = 1.0
    return x, np.where(mask > 0, other, x), mask


def training_step(config: RunConfig, side: int) -> Callable[..., Any]:
    """The compiled training step of some settings on images of this side, `make_step`'s."""
    import tensorflow as tf

    from ssae_tf.models.autoencoder import autoencoder
    from ssae_tf.training.step import make_step

    model = autoencoder(config.model, training_size=side)
    optimizer = tf.keras.optimizers.Adam(1e-4)
    optimizer.build(model.trainable_variables)
    return make_step(model, optimizer, config)


def write_result(path: Path | None, content: Mapping[str, Any], **places: object) -> None:
    """Prints figures as JSON, and keeps them with command and machine where a path is given.

    The command has the names of `places` in place of local paths (RUN=…), and FILE for the path.
    """
    print(json.dumps(content, indent=2, ensure_ascii=False))
    if path is None:
        return
    from ssae_tf.files import write_json
    from ssae_tf.runtime.machine import machine

    command = " ".join(["python", *sys.argv])
    for name, place in {"FILE": path, **places}.items():
        if place is not None:
            command = command.replace(str(place), name)
    write_json(path, {"command": command, "machine": machine(), **content})


class Child:
    """A process that says what it is in a line of JSON, and takes a step for every line it reads.

    Attributes:
        about: what it said of itself.
    """

    def __init__(self, command: list[str]) -> None:
        """Starts the process.

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
