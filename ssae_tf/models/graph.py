"""How the layers of a functional Keras model hang together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def inbound(layer: Any) -> list[Any]:
    """The layers right before a layer, in order."""
    inputs = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    # The first entry of the history is the layer under both versions of Keras.
    return [tensor._keras_history[0] for tensor in inputs]


def inputs_of(layer: Any, values: Mapping[str, Any]) -> Any:
    """What a layer takes: the output of the layer right before it, or a list of several.

    Args:
        layer: of a functional model.
        values: the outputs of the layers before it, by their names.
    """
    found = [values[source.name] for source in inbound(layer)]
    return found if len(found) > 1 else found[0]
