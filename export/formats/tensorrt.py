"""TensorRT: TF-TRT where TensorFlow has it, else an engine built from ONNX.

Everything here that touches NVIDIA's libraries runs in a process of its own: without them, or with
broken ones, a mere question for their version can abort the process that asks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.errors import RunError
from ssae_tf.export import child
from ssae_tf.export.names import FLOAT, PICTURE
from ssae_tf.files import atomic

ENGINE = "model.engine"
# The last TensorFlow with TF-TRT.
_LAST_TFTRT = (2, 17)
# Format -> the packages that build and run its engines. Nothing else is imported, whatever an
# artefact says.
MODULES = {"trt": ("tensorrt",), "trt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
_PROBE_SECONDS = 300.0


@dataclass(frozen=True)
class Profile:
    """The images that an engine takes, and those it is tuned for.

    Attributes:
        smallest, usual, largest: (batch, height, width).
    """

    smallest: tuple[int, int, int]
    usual: tuple[int, int, int]
    largest: tuple[int, int, int]

    def __post_init__(self) -> None:
        shapes = (self.smallest, self.usual, self.largest)
        is_ordered = all(
            1 <= low <= middle <= high for low, middle, high in zip(*shapes, strict=False)
        )
        if {len(shape) for shape in shapes} != {3} or not is_ordered:
            raise RunError(
                "Expected shapes (batch, height, width) with smallest ≤ usual ≤ largest. "
                f"Received: {self.smallest}, {self.usual}, {self.largest}."
            )

    def to_dict(self) -> dict[str, list[int]]:
        """For metadata.json."""
        return {name: list(shape) for name, shape in dataclasses.asdict(self).items()}

    def for_trtexec(self) -> str:
        """The options of `trtexec`."""
        names = {"min": self.smallest, "opt": self.usual, "max": self.largest}
        return " ".join(
            f"--{name}Shapes={PICTURE}:{'x'.join(map(str, (*shape, 3)))}"
            for name, shape in names.items()
        )


@dataclass(frozen=True)
class Builder:
    """What can make an engine here.

    Attributes:
        kind: "tf-trt" or "engine".
        module: that is imported.
        version: of TensorRT.
    """

    kind: str
    module: str
    version: str


def find_builder(name: str) -> tuple[Builder | None, str]:
    """What builds for a format here, and if nothing does, why."""
    reasons = []
    if name == "trt":
        version, reason = probe_tftrt()
        if version:
            return Builder("tf-trt", "tensorflow", version), ""
        reasons.append(reason)
    for module in MODULES[name]:
        if importlib.util.find_spec(module) is None:
            continue
        try:
            version = child.call(
                "ssae_tf.export.formats.tensorrt:version_of",
                module=module,
                time_limit=_PROBE_SECONDS,
                what=f"The probe of {module}",
            )
            return Builder("engine", module, version), ""
        except RunError as error:
            reasons.append(str(error).rstrip("."))
    if not any(importlib.util.find_spec(module) for module in MODULES[name]):
        reasons.append(f"{' and '.join(MODULES[name])} can't be imported")
    return None, "; ".join(reasons)


def probe_tftrt() -> tuple[str, str]:
    """The TensorRT version that TF-TRT finds, or "" and the reason."""
    import tensorflow as tf

    if tuple(int(part) for part in tf.__version__.split(".")[:2]) > _LAST_TFTRT:
        return "", f"TensorFlow {tf.__version__} has no TF-TRT, the last with it is 2.17"
    try:
        version = child.call(
            "ssae_tf.export.formats.tensorrt:tftrt_version",
            time_limit=_PROBE_SECONDS,
            what="The probe of TF-TRT",
        )
    except RunError:
        # Asked for its version, a library that is missing or broken ends the process.
        version = ""
    if version:
        return version, ""
    return "", f"TF-TRT of TensorFlow {tf.__version__} finds no TensorRT library"


def tftrt_version() -> str:
    """The version of the library that TF-TRT has loaded; for a process of its own."""
    from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils as tf2tensorrt

    if not tf2tensorrt.is_tensorrt_enabled():
        return ""
    version = tuple(tf2tensorrt.get_loaded_tensorrt_version())
    return ".".join(map(str, version)) if any(version) else ""


def version_of(module: str) -> str:
    """The version of a TensorRT package that can build; for a process of its own."""
    tensorrt = _import(module)
    if tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR)) is None:
        raise RunError(f"{module} {tensorrt.__version__} makes no builder")
    return str(tensorrt.__version__)


def convert_with_tftrt(
    saved_model: str, out: str, precision: str, profile: dict[str, list[int]]
) -> None:
    """Writes a SavedModel with TensorRT engines in it; for a process of its own.

    Args:
        saved_model: what `savedmodel.write` made, with `serving_default`.
        precision: "fp32" or "fp16".
        profile: smallest, usual and largest (batch, height, width).
    """
    from tensorflow.python.compiler.tensorrt import trt_convert

    from ssae_tf.runtime.gpu import use_tensor_float_32

    # TensorFlow's own switch is TF-TRT's as well.
    use_tensor_float_32(False)

    def shapes() -> Iterator[tuple[np.ndarray]]:
        for shape in profile.values():
            yield (np.zeros((*shape, 3), np.float32),)

    converter = trt_convert.TrtGraphConverterV2(
        input_saved_model_dir=saved_model,
        input_saved_model_signature_key=FLOAT,
        precision_mode=precision.upper(),
        use_dynamic_shape=True,
        dynamic_shape_profile_strategy="Range",
    )
    converter.convert()
    converter.build(input_fn=shapes)
    converter.save(out)


def build_engine(
    module: str, onnx: str, out: str, precision: str, profile: dict[str, list[int]]
) -> None:
    """Writes an engine; for a process of its own.

    Args:
        precision: "fp32" or "fp16".
        profile: smallest, usual and largest (batch, height, width).

    Raises:
        RunError: TensorRT refuses the file, or builds nothing.
    """
    tensorrt = _import(module)
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    flags = 0
    # TensorRT 8 and 9 have to be told; later ones know no other kind.
    if hasattr(tensorrt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH"):
        flags = 1 << int(tensorrt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    network = builder.create_network(flags)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(Path(onnx).read_bytes()):
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise RunError(f"TensorRT can't read the ONNX file ({reasons}).")
    config = builder.create_builder_config()
    # TensorFloat-32 keeps 10 of 23 bits.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    if precision == "fp16":
        if not hasattr(tensorrt.BuilderFlag, "FP16"):
            raise RunError(f"{module} {tensorrt.__version__} builds in no other precision.")
        config.set_flag(tensorrt.BuilderFlag.FP16)
    shapes = builder.create_optimization_profile()
    shapes.set_shape(PICTURE, *((*shape, 3) for shape in profile.values()))
    config.add_optimization_profile(shapes)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RunError("TensorRT built no engine.")
    with atomic(Path(out)) as temporary:
        temporary.write_bytes(bytes(engine))


def gpu_that_runs(module: str, engine: str) -> str:
    """Name of the GPU that an engine runs on here, "" where none does; for a process of its own."""
    tensorrt = _import(module)
    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.INTERNAL_ERROR))
    if runtime is None or runtime.deserialize_cuda_engine(Path(engine).read_bytes()) is None:
        return ""
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        return str(tf.config.experimental.get_device_details(device).get("device_name", "GPU"))
    return "GPU"


def _import(module: str) -> Any:
    """One of `MODULES`."""
    known = [name for names in MODULES.values() for name in names]
    if module not in known:
        raise RunError(f"Expected one of the modules {', '.join(known)}. Received: {module!r}.")
    return importlib.import_module(module)


class EngineRuntime:
    """Runs an engine on the first GPU, with the CUDA runtime of the package cuda-python."""

    def __init__(self, folder: Path, module: str) -> None:
        """Loads the engine.

        Raises:
            RunError: there is no GPU, or the engine is of another.
            ImportError: the module or cuda-python is not installed.
        """
        self._trt = _import(module)
        self._cuda: Any = importlib.import_module("cuda.bindings.runtime")
        runtime = self._trt.Runtime(self._trt.Logger(self._trt.Logger.ERROR))
        self._engine = runtime.deserialize_cuda_engine((folder / ENGINE).read_bytes())
        if self._engine is None:
            raise RunError(f"{folder / ENGINE}: runs on no GPU here; engines belong to theirs.")
        self._context = self._engine.create_execution_context()

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of one call, by name."""
        assert signature == FLOAT
        image = np.ascontiguousarray(inputs[PICTURE])
        if not self._context.set_input_shape(PICTURE, image.shape):
            raise RunError(f"images of shape {image.shape} are outside the engine's profile")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        arrays = {
            name: np.empty(
                tuple(self._context.get_tensor_shape(name)),
                self._trt.nptype(self._engine.get_tensor_dtype(name)),
            )
            for name in names
            if name != PICTURE
        }
        with contextlib.ExitStack() as stack:
            places = {}
            for name, array in {PICTURE: image, **arrays}.items():
                places[name] = self._call("cudaMalloc", max(1, array.nbytes))
                stack.callback(self._call, "cudaFree", places[name])
                self._context.set_tensor_address(name, int(places[name]))
            kinds = self._cuda.cudaMemcpyKind
            size = image.nbytes
            there, back = kinds.cudaMemcpyHostToDevice, kinds.cudaMemcpyDeviceToHost
            self._call("cudaMemcpy", places[PICTURE], image.ctypes.data, size, there)
            if not self._context.execute_async_v3(0):
                raise RunError("the engine fails")
            self._call("cudaDeviceSynchronize")
            for name, array in arrays.items():
                self._call("cudaMemcpy", array.ctypes.data, places[name], array.nbytes, back)
        return arrays

    def _call(self, name: str, *arguments: Any) -> Any:
        code, *values = getattr(self._cuda, name)(*arguments)
        if int(code) != 0:
            raise RunError(f"{name}: CUDA error {int(code)}")
        return values[0] if values else None
