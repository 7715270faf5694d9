"""TFLite (LiteRT): one file for edge devices, run with ai-edge-litert."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.data.images import to_unit
from ssae_tf.export.names import FLOAT, GIVEN_THRESHOLD, PICTURE, PIXELS, WITH_THRESHOLD
from ssae_tf.streams import stderr_held_back

FILE = "model.tflite"
SIGNATURES = (FLOAT, PIXELS, FLOAT + WITH_THRESHOLD, PIXELS + WITH_THRESHOLD)


def convert(saved_model: str, out: str, precision: str, pictures: list[str]) -> None:
    """Writes the file; for a process of its own.

    Args:
        saved_model: what `savedmodel.write` made.
        out: an existing folder.
        precision: "float32"; "float16", for weights; "dynamic", 8-bit weights; or "int8", the
            network in 8-bit integers and the scoring in float.
        pictures: .npy files of (H, W, 3) uint8 pictures that int8 is calibrated on.
    """
    if precision == "int8":
        content = _in_int8(saved_model, pictures)
    else:
        content = _converter(saved_model, precision).convert()
    (Path(out) / FILE).write_bytes(content)


def _converter(saved_model: str, precision: str = "float32") -> Any:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        saved_model, signature_keys=list(SIGNATURES)
    )
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return converter


def _in_int8(saved_model: str, pictures: list[str]) -> bytes:
    import tensorflow as tf

    def examples() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        # Every signature has a copy of the network, which takes its ranges from its own calls.
        for path in pictures:
            pixels = np.load(path)[None]
            inputs = {FLOAT: to_unit(pixels), PIXELS: pixels}
            for name, picture in inputs.items():
                yield name, {PICTURE: picture}
                limit = np.zeros(1, np.float32)
                yield name + WITH_THRESHOLD, {PICTURE: picture, GIVEN_THRESHOLD: limit}

    operations, nodes = _outside_the_network(_converter(saved_model).convert())
    converter = _converter(saved_model, "int8")
    converter.representative_dataset = examples
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_ops=operations, denylisted_nodes=nodes
    )
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=examples, debug_options=options
    )
    return debugger.get_nondebug_quantized_model()


def _outside_the_network(content: bytes) -> tuple[list[str], list[str]]:
    """What stays in float: kinds of operations the network has not, and names of those it has."""
    from ai_edge_litert import schema_py_generated as schema

    from ssae_tf.export.network import LAST_LAYER, NAME

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    codes = [max(one.builtinCode, one.deprecatedBuiltinCode) for one in model.operatorCodes]
    kind_of = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    inside: set[tuple[str, str]] = set()
    outside: set[tuple[str, str]] = set()
    for subgraph in model.subgraphs:
        for operation in subgraph.operators:
            name = subgraph.tensors[operation.outputs[0]].name.decode()
            kind = kind_of[codes[operation.opcodeIndex]]
            is_inside = NAME in name and LAST_LAYER not in name
            (inside if is_inside else outside).add((kind, name))
    kinds = {kind for kind, _ in inside}
    operations = {kind for kind, _ in outside} - kinds
    return sorted(operations), sorted(name for kind, name in outside if kind in kinds)


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
