"""Layers that cost too much stay out of 8 bits, and only these."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.export.choice import Choice, choose
from ssae_tf.progress import Reporter

# What rounding moves the weight of each layer by.
MOVED = {"dear": 0.5, "cheap": 0.01, "fair": 0.1}
HIGHEST = {f"{name}_relu": 1.0 for name in MOVED}


def _network() -> tf.keras.Model:
    """Multiplies by one three times, at the second at half the resolution; rounded, by more."""
    layers = tf.keras.layers
    inputs = x = tf.keras.Input((None, None, 1), name="picture")
    for name in MOVED:
        x = layers.Conv2D(1, 1, kernel_initializer="ones", name=name)(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        if name == "dear":
            x = layers.MaxPooling2D(2)(x)
    return tf.keras.Model(inputs, layers.UpSampling2D(2)(x), name="ssae")


def _choose(budget: float, steps: int = 0) -> tuple[Choice, tf.keras.Model]:
    network = _network()
    exact = network.get_weights()
    for name, by in MOVED.items():
        layer = network.get_layer(name)
        layer.set_weights([layer.get_weights()[0] + by, layer.get_weights()[1]])
    # A white picture, whose map is white, and the threshold at a half.
    cases = [(np.full((4, 6, 3), 0.5, np.float32), np.full((4, 6), 0.5, np.float32))]
    choice = choose(
        network,
        exact,
        HIGHEST,
        lambda seen, x: seen(x[..., :1])[0, ..., 0],
        cases,
        0.5,
        budget,
        Reporter(quiet=True),
        steps,
    )
    return choice, network


@pytest.mark.parametrize(
    ("budget", "layers", "lost"),
    [
        (1.0, ("dear", "cheap", "fair"), 1.5 * 1.01 * 1.1 - 1.0),
        (0.3, ("cheap", "fair"), 1.01 * 1.1 - 1.0),
        (0.1, ("cheap",), 0.01),
        (0.001, (), 0.0),
    ],
)
def test_the_dearest_are_left_out(budget: float, layers: tuple[str, ...], lost: float) -> None:
    choice, network = _choose(budget)
    assert choice.convolutions == layers
    assert choice.layers == tuple(f"{name}_relu" for name in layers)
    assert choice.of == 3
    assert choice.lost == pytest.approx(lost, abs=1e-5)
    # Of four, one and one products for every four pixels.
    products = {"dear": 4, "cheap": 1, "fair": 1}
    assert choice.share == pytest.approx(sum(products[name] for name in layers) / 6)
    for name, by in MOVED.items():
        kernel = network.get_layer(name).get_weights()[0]
        assert kernel == pytest.approx(1.0 + by if name in layers else 1.0)


@pytest.mark.parametrize(
    ("steps", "budget", "layers", "lost"),
    [
        # 0.505 and 0.55 become 0.5 again, and 0.75 is a whole step.
        (4, 0.0, ("cheap", "fair"), 0.0),
        # 0.5 becomes 0.4, whichever layer reads it.
        (5, 0.21, ("cheap", "fair"), 0.2),
        (5, 0.19, (), 0.0),
    ],
)
def test_outputs_are_rounded_too(
    steps: int, budget: float, layers: tuple[str, ...], lost: float
) -> None:
    choice, _ = _choose(budget, steps)
    assert choice.convolutions == layers
    assert choice.lost == pytest.approx(lost, abs=1e-6)
