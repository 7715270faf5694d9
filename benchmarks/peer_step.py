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
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import (
    Child,
    Timed,
    here,
    matrix_product,
    medians,
    product_rate,
    training_step,
    write_result,
)

_EAGER, _COMPILED = "PyTorch, eager", "PyTorch, torch.compile"
_MATRIX = "matrix product"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is trained.

    Attributes:
        preset: where the rest of the settings comes from.
        width: scales the filter counts.
        batch, side: of the images; `side` in pixels.
        norm: of the objective.
        taps: live ones on either side of the middle of a dilated kernel, for each rate.
    """

    preset: str
    width: float
    batch: int
    side: int
    norm: str
    taps: tuple[int, ...]

    def images(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """X, X̂ and M, (B, H, W, 3) float32."""
        rng = np.random.default_rng(0)
        shape = (self.batch, self.side, self.side, 3)
        x, other = rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32)
        mask = np.zeros(shape, np.float32)
        mask[:, self.side // 4 : self.side // 2, self.side // 4 : self.side // 2] = 1.0
        return x, np.where(mask > 0, other, x), mask


def in_tensorflow(setting: Setting) -> Callable[[], object]:
    """The package's own step."""
    import tensorflow as tf

    from ssae_tf.config import override, preset

    changes = {"model.width": setting.width, "corruption.where": "data"}
    step = training_step(override(preset(setting.preset), changes), setting.side)
    images = [tf.constant(one) for one in setting.images()]
    index = tf.constant(0, tf.int64)
    return lambda: float(step(index, *images)[0])


def serve(what: str, setting: Setting) -> None:
    """The same step in PyTorch: one for every line of stdin, answered with its seconds."""
    import torch
    from torch_peers import network, objective

    print(json.dumps({"torch": torch.__version__}), flush=True)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = network(setting.width, setting.taps)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    x, x_hat, mask = (
        torch.from_numpy(one).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        for one in setting.images()
    )
    compiled = torch.compile(model) if what == _COMPILED else model

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = objective(compiled(x_hat), x, mask, setting.norm)
        loss.backward()
        optimizer.step()
        loss.item()

    timed = here(step)
    for _ in sys.stdin:
        print(timed(), flush=True)


def compare(setting: Setting, python: str, rounds: int) -> tuple[dict[str, float], str]:
    """Median seconds by name of what works here and of a matrix product; PyTorch's version."""
    given = json.dumps(dataclasses.asdict(setting))
    children = {
        what: Child([python, __file__, "--serve", what, given]) for what in (_EAGER, _COMPILED)
    }
    timed: dict[str, Timed] = {
        _MATRIX: here(matrix_product()),
        "ssae_tf": here(in_tensorflow(setting)),
    }
    try:
        for what, child in children.items():
            # A process that can't take its first step is left out.
            with contextlib.suppress(BrokenPipeError, ValueError):
                child()
                timed[what] = child
        return medians(timed, rounds), children[_EAGER].about["torch"]
    finally:
        for child in children.values():
            child.close()


def setting_of(name: str, width: float | None, shape: str) -> tuple[Setting, float]:
    """What is trained, and the floating-point operations of its step that no engine is spared.

    Those are three times the multiply-adds of a forward pass with live taps, two operations each.
    """
    from ssae_tf.config import override, preset
    from ssae_tf.models.autoencoder import autoencoder
    from ssae_tf.models.blocks import outermost_tap
    from ssae_tf.models.summary import rows

    batch, side = map(int, shape.split("x"))
    config = override(preset(name), {} if width is None else {"model.width": width})
    model = autoencoder(config.model, training_size=side)
    # Taps that training does not reach start at zero.
    kernels = [layer.kernel for layer in model.layers if layer.name.startswith("sdc1_rate")]
    taps = tuple(outermost_tap(np.asarray(kernel)) for kernel in kernels)
    live = sum((2 * count + 1) ** 2 for count in taps) / (25 * len(taps))
    multiply_adds = sum(
        row.multiply_adds * (live if row.layer.startswith("SDC") else 1.0)
        for row in rows(config.model, side)
    )
    setting = Setting(name, config.model.width, batch, side, config.objective.norm, taps)
    return setting, 3 * 2 * batch * multiply_adds


def main() -> None:
    """Prints the figures, and keeps them as JSON if asked to."""
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], Setting(**json.loads(sys.argv[3])))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch-python", required=True, help="of an environment with PyTorch")
    parser.add_argument("--preset", default="paper", help="settings of the step")
    parser.add_argument("--width", type=float, help="another than the preset's")
    parser.add_argument("--shapes", nargs="+", default=["8x128", "2x256"], metavar="BATCHxSIDE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for shape in arguments.shapes:
        setting, operations = setting_of(arguments.preset, arguments.width, shape)
        found, torch = compare(setting, arguments.torch_python, arguments.rounds)
        results[shape] = {
            "setting": dataclasses.asdict(setting),
            "operations": operations,
            "matrix_product_flop_per_second": product_rate(found.pop(_MATRIX)),
            "seconds": found,
        }
    content = {"torch": torch, "shapes": results}
    write_result(arguments.out, content, PYTHON=arguments.torch_python)


if __name__ == "__main__":
    main()
