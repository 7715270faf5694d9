"""A training step of Table 1 in TensorFlow beside the same network in PyTorch.

Forward and backward pass, squared error and Adam, on the same pictures, every step of either in
turn in processes of their own. PyTorch computes with channels last, eagerly and with torch.compile
where that works. Beside them stands the machine's rate for a large float32 matrix product.

    python benchmarks/peer_step.py --torch-python TORCH_ENVIRONMENT/bin/python [--width 1]
        [--shapes 8x128 2x256] [--rounds 5] [--out FILE.json]

A step is three times the multiply-adds of a forward pass (`ssae-tf summary`), twice that in
floating-point operations: 298 GFLOP at 8 × 128² and width 1, less what dead taps save.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RATES = (1, 2, 4, 8, 16)
_PRODUCT = 2048


def in_tensorflow(width: float, shape: tuple[int, int]) -> Callable[[], None]:
    """A compiled step of the package's own network."""
    import tensorflow as tf

    from ssae_tf.config import ModelConfig
    from ssae_tf.models.autoencoder import autoencoder

    batch, side = shape
    model = autoencoder(ModelConfig(width=width), training_size=side)
    optimizer = tf.keras.optimizers.Adam(1e-4)
    optimizer.build(model.trainable_variables)
    x = tf.constant(_pictures(batch, side))

    @tf.function(autograph=False)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - x))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return lambda: float(step())


def matrix_product() -> Callable[[], None]:
    """A float32 matrix product, in TensorFlow."""
    import tensorflow as tf

    square = tf.constant(np.random.default_rng(0).random((_PRODUCT, _PRODUCT), dtype=np.float32))
    return lambda: tf.matmul(square, square).numpy()


def in_torch(width: float, shape: tuple[int, int], compiled: bool) -> Callable[[], None]:
    """A step of the same layers in PyTorch."""
    import torch
    from torch import nn

    class Stacked(nn.Module):
        """Dilated convolutions side by side, joined."""

        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.branches = nn.ModuleList(
                nn.Conv2d(inputs, outputs, 5, padding=2 * rate, dilation=rate, bias=False)
                for rate in RATES
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([branch(x) for branch in self.branches], dim=1)

    layers: list[nn.Module] = []
    channels = 3

    def add(layer: nn.Module, outputs: int) -> None:
        nonlocal channels
        layers.extend((layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)))
        channels = outputs

    def convolve(filters: int) -> None:
        outputs = round(filters * width)
        add(nn.Conv2d(channels, outputs, 3, padding=1, bias=False), outputs)

    for filters in (32, 64, 128):
        convolve(filters)
        convolve(filters)
        layers.append(nn.MaxPool2d(2))
    for _ in range(4):
        filters = round(64 * width)
        add(Stacked(channels, filters), len(RATES) * filters)
    convolve(256)
    for filters in (256, 128, 64):
        outputs = round(filters * width)
        up = nn.ConvTranspose2d(
            channels, outputs, 3, stride=2, padding=1, output_padding=1, bias=False
        )
        add(up, outputs)
        convolve(filters)
        convolve(filters // 2)
    layers += [nn.Conv2d(channels, 3, 1), nn.Sigmoid()]
    model = nn.Sequential(*layers).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    pictures = torch.from_numpy(_pictures(*shape)).permute(0, 3, 1, 2)
    x = pictures.contiguous(memory_format=torch.channels_last)
    network = torch.compile(model) if compiled else model

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.mean(torch.square(network(x) - x))
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def _pictures(batch: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).random((batch, side, side, 3), dtype=np.float32)


def serve(what: str, width: float, shape: tuple[int, int]) -> None:
    """Does one thing for every line of stdin, and answers with its seconds."""
    if what == "tensorflow":
        run = in_tensorflow(width, shape)
    elif what == "matrix product":
        run = matrix_product()
    else:
        run = in_torch(width, shape, compiled=what == "torch.compile")
    for _ in sys.stdin:
        begin = time.perf_counter()
        run()
        print(json.dumps(time.perf_counter() - begin), flush=True)


class Child:
    """A process that takes steps when it is asked to."""

    def __init__(self, python: str, what: str, width: float, shape: str) -> None:
        command = [python, __file__, "--serve", what, "--width", str(width), "--shapes", shape]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> float | None:
        """Seconds of a step; None where the process could not take it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = self._process.stdout.readline()
        return float(answer) if answer else None

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def compare(arguments: argparse.Namespace, shape: str) -> dict[str, float]:
    """Median seconds by name, at one shape, of what works here."""
    pythons = {
        "tensorflow": sys.executable,
        "torch, eager": arguments.torch_python,
        "torch.compile": arguments.torch_python,
        "matrix product": sys.executable,
    }
    children = {
        what: Child(python, what, arguments.width, shape) for what, python in pythons.items()
    }
    times: dict[str, list[float]] = {what: [] for what in children}
    try:
        for index in range(arguments.rounds + 1):
            for what in list(times):
                seconds = children[what].step()
                if seconds is None:
                    del times[what]
                elif index:
                    times[what].append(seconds)
    finally:
        for child in children.values():
            child.close()
    return {what: statistics.median(values) for what, values in times.items()}


def _shape(text: str) -> tuple[int, int]:
    batch, side = map(int, text.split("x"))
    return batch, side


def main() -> None:
    """Prints a Markdown table of medians, and keeps the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch-python", help="of an environment with PyTorch")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--shapes", nargs="+", default=["8x128", "2x256"], metavar="BATCHxSIDE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.width, _shape(arguments.shapes[0]))
        return
    if arguments.torch_python is None:
        parser.error("--torch-python is needed")
    results: dict[str, Any] = {}
    print("| batch × side | | s | ratio to TensorFlow |\n|---|---|---|---|")
    for shape in arguments.shapes:
        found = results[shape] = compare(arguments, shape)
        for what, seconds in found.items():
            if what == "matrix product":
                rate = 2 * _PRODUCT**3 / seconds / 1e9
                print(f"| {shape} | {what} of {_PRODUCT}², {rate:.0f} GFLOP/s | | |", flush=True)
            else:
                ratio = seconds / found.get("tensorflow", float("nan"))
                print(f"| {shape} | {what} | {seconds:.2f} | {ratio:.2f} |", flush=True)
    if arguments.out:
        # Imports TensorFlow, which the processes of PyTorch have not.
        from ssae_tf.machine import machine

        command = " ".join(["python", *sys.argv]).replace(arguments.torch_python, "PYTHON")
        content = {"command": command, "machine": machine(), "seconds": results}
        arguments.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
