"""How the layers of a functional Keras model hang together."""

from __future__ import annotations

from typing import Any


def inbound(layer: Any) -> list[Any]:
    """The layers right before a layer, in order."""
    inputs = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    # The first entry of the history is the layer under both versions of Keras.
    return [tensor._keras_history[0] for tensor in inputs]
