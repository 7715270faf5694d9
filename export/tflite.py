"""TFLite (LiteRT): one file for edge devices, run with ai-edge-litert."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.export.names import FLOAT, GIVEN_THRESHOLD, PIXELS, WITH_THRESHOLD
from ssae_tf.streams import stderr_held_back

FILE = "model.tflite"
SIGNATURES = (FLOAT, PIXELS, FLOAT + WITH_THRESHOLD, PIXELS + WITH_THRESHOLD)


def convert(
    saved_model: str,
    out: str,
    precision: str,
    layers: Collection[str] = (),
    highest: Mapping[str, float] | None = None,
) -> None:
    """Writes the file; for a process of its own.

    Args:
        saved_model: what `savedmodel.write` made.
        out: an existing folder.
        precision: "float32"; "float16", for weights; "dynamic" or "int8", as `in_eight_bits`.
        layers, highest: as there.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        saved_model, signature_keys=list(SIGNATURES)
    )
    if precision == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    content = converter.convert()
    if precision in ("dynamic", "int8"):
        from ssae_tf.export.eight_bits import in_eight_bits

        content = in_eight_bits(content, layers, highest or {})
    (Path(out) / FILE).write_bytes(content)


class TfliteRuntime:
    """Runs the file with LiteRT's interpreter."""

    def __init__(self, folder: Path) -> None:
        """Loads the file."""
        from ai_edge_litert.interpreter import Interpreter

        # The content, because a mapped file that changes crashes the process.
        self._interpreter = Interpreter(model_content=(folder / FILE).read_bytes())
        self._runners: dict[str, Any] = {}

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of one call, by name."""
        name = signature + (WITH_THRESHOLD if GIVEN_THRESHOLD in inputs else "")
        if name not in self._runners:
            self._runners[name] = self._interpreter.get_signature_runner(name)
            # The first call tells of the interpreter's delegate on stderr.
            with stderr_held_back():
                return dict(self._runners[name](**inputs))
        return dict(self._runners[name](**inputs))
