"""TFLite (LiteRT): one file for edge devices, run with ai-edge-litert."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.data.images import to_unit
from ssae_tf.export.names import FLOAT, GIVEN_THRESHOLD, NETWORK, PICTURE, PIXELS, WITH_THRESHOLD
from ssae_tf.files import atomic
from ssae_tf.runtime.streams import stderr_held_back

FILE = "model.tflite"
SIGNATURES = (FLOAT, PIXELS, FLOAT + WITH_THRESHOLD, PIXELS + WITH_THRESHOLD)
# Of a map: the area rule has nothing to do then.
_NEVER_REACHED = np.array([1e9], np.float32)
# "network/conv/BiasAdd", where operations were joined one after the other: "Relu;network/…".
_IN_NETWORK = re.compile(rf"(^|[/;]){NETWORK}(_\d+)?/")


def convert(saved_model: str, out: str, precision: str, images: Sequence[str] = ()) -> None:
    """Writes the file; for a process of its own.

    Args:
        saved_model: what `savedmodel.write` made.
        precision: "float32"; "float16", for weights; "dynamic", for weights in int8 and products
            of rounded activations; "int8", for all of the network, with the scoring in float.
        images: .npy files of (H, W, 3) uint8 images of one size that int8 is calibrated on.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        saved_model, signature_keys=list(SIGNATURES)
    )
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    content = _in_int8(converter, images) if precision == "int8" else converter.convert()
    with atomic(Path(out) / FILE) as temporary:
        temporary.write_bytes(content)


def _in_int8(converter: Any, images: Sequence[str]) -> bytes:
    """The stock full quantisation, without the scoring.

    The verdict hangs on differences of the map that 256 steps do not hold; the converter would
    round the scoring like everything else.
    """
    import tensorflow as tf

    def examples() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        # Every signature is a graph of its own to the converter, with its own ranges.
        for path in images:
            pixels = np.load(path)[None]
            for signature in SIGNATURES:
                is_float = signature.startswith(FLOAT)
                inputs = {PICTURE: to_unit(pixels) if is_float else pixels}
                if signature.endswith(WITH_THRESHOLD):
                    inputs[GIVEN_THRESHOLD] = _NEVER_REACHED
                yield signature, inputs

    converter.representative_dataset = examples
    # The converter itself can't leave operations out.
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=examples
    )
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_nodes=_outside(debugger.calibrated_model)
    )
    return debugger.get_nondebug_quantized_model()


def _outside(content: bytes) -> list[str]:
    """Names of the operations of a file that stay in floats: those of their outputs."""
    from ai_edge_litert import schema_py_generated as schema

    # Brings TensorFlow, which only conversion needs in this module.
    from ssae_tf.models.gated import STANDARDIZED

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    names = {
        graph.tensors[output].name.decode()
        for graph in model.subgraphs
        for operation in graph.operators
        for output in operation.outputs
    }
    # A deviation in 8 bits would be a third too small on even surfaces.
    return sorted(n for n in names if not _IN_NETWORK.search(n) or f"/{STANDARDIZED}/" in n)


class TfliteRuntime:
    """Runs the file with LiteRT's interpreter."""

    def __init__(self, folder: Path) -> None:
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
