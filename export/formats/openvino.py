"""OpenVINO: one model for float images and one for uint8, converted from ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.export.formats import onnx
from ssae_tf.export.names import FLOAT, PIXELS

FILES = {FLOAT: "model.xml", PIXELS: "model_u8.xml"}


def convert(folder: str) -> None:
    """Makes both models of ONNX files, which it removes; for a process of its own.

    Args:
        folder: where `onnx.convert` wrote, without the area rule: OpenVINO's reader of ONNX refuses
            its loop. Its reader of TFLite is no way round, since it gives wrong numbers for
            transposed convolutions.
    """
    import openvino

    for signature, name in FILES.items():
        source = Path(folder) / onnx.FILES[signature]
        # Compressed, the weights would lose half of their bits.
        openvino.save_model(
            openvino.convert_model(str(source)), str(Path(folder) / name), compress_to_fp16=False
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
        outputs = self._models[signature](inputs)
        return {output.any_name: np.array(outputs[output]) for output in outputs}
