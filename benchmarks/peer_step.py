"""The compiled training step beside a step of the same network in PyTorch.

Forward pass, objective (1), backward pass and Adam, on the same corrupted images, all in turn,
PyTorch in processes of its own. The corruption is left out on both sides. PyTorch computes with
channels last, eagerly and with torch.compile where that works, and is given kernels of live taps
only, as TensorFlow is. Beside them stands the machine's rate for a large float32 matrix product.

    python benchmarks/peer_step.py --torch-python TORCH_ENVIRONMENT/bin/python [--preset paper]
        [--width W] [--shapes 8x128 2x256] [--rounds 5] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import (
    Child,
    Timed,
    corrupted_images,
    here,
    matrix_product,
    medians,
    product_rate,
    training_step,
    write_result,
)

from ssae_tf.config import RunConfig, override, preset
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.blocks import outermost_tap
from ssae_tf.models.summary import rows

_MATRIX = "matrix product"
_PEERS = {"PyTorch, eager": "step", "PyTorch, torch.compile": "step-compiled"}
_TORCH = Path(__file__).with_name("torch_peers.py")


def in_tensorflow(config: RunConfig, batch: int, side: int) -> Callable[[], object]:
    """The package's own step."""
    import tensorflow as tf

    step = training_step(override(config, {"corruption.where": "data"}), side)
    images = [tf.constant(one) for one in corrupted_images(batch, side)]
    index = tf.constant(0, tf.int64)
    return lambda: float(step(index, *images)[0])


def live_taps(config: RunConfig, side: int) -> list[int]:
    """Taps on either side of the middle of a dilated kernel, for each rate."""
    model = autoencoder(config.model, training_size=side)
    # Taps that training does not reach start at zero.
    kernels = [layer.kernel for layer in model.layers if layer.name.startswith("sdc1_rate")]
    return [outermost_tap(np.asarray(kernel)) for kernel in kernels]


def operations(config: RunConfig, side: int, taps: list[int]) -> float:
    """Floating-point operations of a step on an image that no engine is spared.

    Those are three times the multiply-adds of a forward pass with live taps, two operations each.
    """
    live = sum((2 * count + 1) ** 2 for count in taps) / (25 * len(taps))
    multiply_adds = sum(
        row.multiply_adds * (live if row.layer.startswith("SDC") else 1.0)
        for row in rows(config.model, side)
    )
    return 3 * 2 * multiply_adds


def compare(config: RunConfig, shape: str, python: str, rounds: int) -> dict[str, Any]:
    """Median seconds by name of what works here, and the rate of a matrix product."""
    batch, side = map(int, shape.split("x"))
    taps = live_taps(config, side)
    settings = ["--width", config.model.width, "--batch", batch, "--norm", config.objective.norm]
    command = [*map(str, settings), "--taps", *map(str, taps)]
    children = {
        name: Child([python, str(_TORCH), kind, str(side), *command])
        for name, kind in _PEERS.items()
    }
    timed: dict[str, Timed] = {
        _MATRIX: here(matrix_product()),
        "ssae_tf": here(in_tensorflow(config, batch, side)),
    }
    try:
        for name, child in children.items():
            # A process that can't take its first step is left out.
            with contextlib.suppress(BrokenPipeError, ValueError):
                child()
                timed[name] = child
        seconds = medians(timed, rounds)
    finally:
        for child in children.values():
            child.close()
    return {
        "taps": taps,
        "operations": batch * operations(config, side, taps),
        "matrix_product_flop_per_second": product_rate(seconds.pop(_MATRIX)),
        "seconds": seconds,
        **next(iter(children.values())).about,
    }


def main() -> None:
    """Prints the figures, and keeps them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch-python", required=True, help="of an environment with PyTorch")
    parser.add_argument("--preset", default="paper", help="settings of the step")
    parser.add_argument("--width", type=float, help="another than the preset's")
    parser.add_argument("--shapes", nargs="+", default=["8x128", "2x256"], metavar="BATCHxSIDE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    changes = {} if arguments.width is None else {"model.width": arguments.width}
    config = override(preset(arguments.preset), changes)
    python, rounds = arguments.torch_python, arguments.rounds
    shapes = {shape: compare(config, shape, python, rounds) for shape in arguments.shapes}
    content = {"torch": next(iter(shapes.values())).pop("torch"), "shapes": shapes}
    write_result(arguments.out, content, PYTHON=python)


if __name__ == "__main__":
    main()
