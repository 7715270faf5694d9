"""The formats by name: what each takes, how close it must come, and what it needs to be made."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass

from ssae_tf.errors import MissingExtraError
from ssae_tf.export.formats import tensorrt

# Largest difference of the map from the detector's, as a share of the threshold: maps are weighed
# by place, and what is little on one surface decides on another. For floats twice to four times
# what they cost on real runs; for 8 bits what a verdict can bear, which not every run keeps within
# (docs/serving.md).
_FLOAT32, _FLOAT16, _INT8 = 1e-3, 0.05, 0.2
# Rounding, which no threshold makes smaller.
_MIN_TOLERANCE = 5e-5


@dataclass(frozen=True)
class Format:
    """One way of storing a detector.

    Attributes:
        name: on the command line.
        about: what it is for.
        shares: precision -> largest difference of the map from the detector's, as a share of the
            threshold; the first precision is the default.
        extra: of this package, which installs what the format needs; "" where nothing is.
        packages: what the extra installs, as it is imported.
        takes_threshold: whether the graph has a form that takes the threshold.
        has_verdict: whether `is_anomalous` is in the graph.
    """

    name: str
    about: str
    shares: dict[str, float]
    extra: str = ""
    packages: tuple[str, ...] = ()
    takes_threshold: bool = True
    has_verdict: bool = True

    @property
    def precisions(self) -> tuple[str, ...]:
        """Names of the precisions, the default first."""
        return tuple(self.shares)

    def tolerance(self, precision: str, threshold: float) -> float:
        """Largest difference of the map from the detector's that passes, in the map's unit."""
        return max(_MIN_TOLERANCE, self.shares[precision] * threshold)

    def check(self) -> None:
        """Raises a MissingExtraError where one of the format's packages is not installed."""
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing and self.name == "trt":
            # TF-TRT takes the SavedModel.
            version, reason = tensorrt.probe_tftrt()
            if version:
                return
            raise MissingExtraError(
                f"--format trt finds neither of its roads: {reason}; and ONNX needs "
                f"{', '.join(missing)}: pip install 'ssae-tf[{self.extra}]', or 'ssae-tf[trt]' on "
                "the GPU host."
            )
        if missing:
            raise MissingExtraError(
                f"--format {self.name} needs {', '.join(missing)}: "
                f"pip install 'ssae-tf[{self.extra}]'"
            )
        if "onnx" in self.packages:
            _check_onnx()

    def state(self) -> str:
        """Whether the format works here, or what is missing, for a person."""
        try:
            self.check()
        except MissingExtraError as error:
            return str(error)
        if self.name not in tensorrt.MODULES:
            return "works"
        builder, reason = tensorrt.find_builder(self.name)
        if builder is None:
            return f"ONNX only: {reason}; pip install 'ssae-tf[{self.name}]'"
        return f"works ({builder.module} {builder.version})"


def _check_onnx() -> None:
    """Refuses an onnx that can't be imported beside an old TensorFlow, which pip does not know."""
    version, types = (
        tuple(int(part) for part in importlib.metadata.version(name).split(".")[:2])
        for name in ("onnx", "ml_dtypes")
    )
    if version >= (1, 19) and types < (0, 5):
        raise MissingExtraError(
            "onnx 1.19 and later can't be imported with this TensorFlow's ml_dtypes: "
            "pip install 'onnx==1.18.0'"
        )


_ONNX = ("onnx", "onnxruntime", "tf2onnx")

FORMATS = {
    one.name: one
    for one in (
        Format("savedmodel", "TF Serving and TensorFlow", {"float32": _FLOAT32}),
        Format(
            "tflite",
            "edge devices, with LiteRT",
            {"float32": _FLOAT32, "float16": _FLOAT16, "dynamic": _INT8, "int8": _INT8},
            "tflite",
            ("ai_edge_litert",),
        ),
        Format("onnx", "ONNX Runtime", {"float32": _FLOAT32}, "onnx", _ONNX),
        Format(
            "openvino",
            "Intel processors",
            {"float32": _FLOAT32},
            "openvino",
            ("openvino", *_ONNX),
            takes_threshold=False,
            has_verdict=False,
        ),
        Format(
            "trt",
            "NVIDIA GPUs: TF-TRT, or an engine of TensorRT",
            {"fp32": _FLOAT32, "fp16": _FLOAT16},
            "onnx",
            _ONNX,
            takes_threshold=False,
            has_verdict=False,
        ),
        Format(
            "trt-rtx",
            "NVIDIA GPUs of desktops: an engine of TensorRT for RTX",
            {"fp32": _FLOAT32},
            "onnx",
            _ONNX,
            takes_threshold=False,
            has_verdict=False,
        ),
    )
}
