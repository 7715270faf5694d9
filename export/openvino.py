"""OpenVINO: one model for float pictures and one for uint8, converted from ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.export import onnx
from ssae_tf.export.names import FLOAT, PIXELS

FILES = {FLOAT: "model.xml", PIXELS: "model_u8.xml"}
PACKAGES = ("openvino", *onnx.PACKAGES)


def convert(saved_model: str, out: str) -> None:
    """Writes both models; for a process of its own.

    Args:
        saved_model: what `savedmodel.write` made, without the area rule: OpenVINO's reader of ONNX
            refuses its loop. Its reader of TFLite is no way round, since it gives wrong numbers for
            transposed convolutions.
        out: an existing folder.
    """
    import openvino

    onnx.convert(saved_model, out)
    for signature, name in FILES.items():
        source = Path(out) / onnx.FILES[signature]
        # It would halve the weights' precision.
        openvino.save_model(
            openvino.convert_model(str(source)), str(Path(out) / name), compress_to_fp16=False
        )
        source.unlink()


class OpenvinoRuntime:
    """Runs both models on the CPU, in float32."""

    def __init__(self, folder: Path) -> None:
        """Compiles the models when they are first needed."""
        import openvino

        self._folder = folder
        self._core = openvino.Core()
        self._models: dict[str, Any] = {}

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of one call, by name."""
        if signature not in self._models:
            # Newer processors would compute in bfloat16.
            self._models[signature] = self._core.compile_model(
                str(self._folder / FILES[signature]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
            )
        found = self._models[signature](inputs)
        return {output.any_name: np.array(found[output]) for output in found}
