"""What Table 1 costs at inspection by every route: TensorFlow, other runtimes, and PyTorch.

The network alone with every tap and random weights, batch 1, all routes in turn; those through
files take the files as `ssae-tf export` makes them. PyTorch has the same layers, in a process of
its own, and its ONNX is run here. Beside them stands the machine's own rate for a large float32
matrix product.

    python benchmarks/inference.py [--width 1] [--sizes 256 512] [--rounds 7] [--out FILE.json]
        [--torch-python TORCH_ENVIRONMENT/bin/python]

`size fixed` is what `--image-size` of `ssae-tf export` gives.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from measure import Child, Timed, here, matrix_product, medians, product_rate, write_result

from ssae_tf.config import ModelConfig
from ssae_tf.detector import compiled_network
from ssae_tf.export.formats import onnx, openvino
from ssae_tf.export.formats.onnx import OnnxRuntime
from ssae_tf.export.formats.openvino import OpenvinoRuntime
from ssae_tf.export.formats.savedmodel import SavedModelRuntime
from ssae_tf.export.formats.tflite import FILE as TFLITE_FILE
from ssae_tf.export.formats.tflite import TfliteRuntime
from ssae_tf.export.names import FLOAT, PICTURE
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.fold import folded
from ssae_tf.runtime.machine import usable_cpus

_CEILING = "matrix product"
_TORCH = Path(__file__).with_name("torch_peers.py")


Route = Callable[[Any], Any]


def in_tensorflow(model: tf.keras.Model) -> dict[str, Route]:
    """The routes that need this package."""
    exported = folded(model)
    return {
        "Keras call": lambda x: model(x, training=False),
        "compiled": compiled_network(model),
        "compiled, folded (Detector)": compiled_network(exported),
        "XLA, folded": tf.function(exported, jit_compile=True, autograph=False),
    }


def write_files(model: tf.keras.Model, folder: Path) -> None:
    """The network alone as SavedModel, LiteRT, ONNX and OpenVINO, as `export` converts."""
    exported = folded(model)
    archive = tf.keras.export.ExportArchive()
    endpoint = tf.function(lambda image: {"out": exported(image)}, autograph=False)
    signature = tf.TensorSpec((None, None, None, 3), tf.float32, name=PICTURE)
    archive.add_endpoint(FLOAT, endpoint, [signature])
    saved = str(folder / "savedmodel")
    with contextlib.redirect_stdout(io.StringIO()):
        archive.write_out(saved)
    for precision in ("float32", "float16"):
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=[FLOAT])
        if precision == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        (folder / precision).mkdir()
        (folder / precision / TFLITE_FILE).write_bytes(converter.convert())
    (folder / "onnx").mkdir()
    onnx.convert(saved, str(folder / "onnx"))
    shutil.copytree(folder / "onnx", folder / "openvino")
    openvino.convert(str(folder / "openvino"))


def from_files(folder: Path, side: int) -> dict[str, Route]:
    """The routes through files, each in the runtime of its artefact."""
    runtimes = {
        "SavedModel": SavedModelRuntime(folder / "savedmodel"),
        "LiteRT, float32": TfliteRuntime(folder / "float32"),
        "LiteRT, float16": TfliteRuntime(folder / "float16"),
        "ONNX Runtime": OnnxRuntime(folder / "onnx"),
        "OpenVINO": OpenvinoRuntime(folder / "openvino"),
    }

    def route(runtime: Any) -> Route:
        return lambda x: next(iter(runtime.run(FLOAT, {PICTURE: x}).values()))

    routes = {name: route(runtime) for name, runtime in runtimes.items()}
    fixed = in_openvino(folder / "openvino" / openvino.FILES[FLOAT], [1, side, side, 3])
    return routes | {"OpenVINO, size fixed": fixed}


def from_torch(path: Path, side: int) -> dict[str, Route]:
    """The routes of PyTorch's ONNX, which takes planes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # As the artefact's runtime has it.
    options.intra_op_num_threads = usable_cpus()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    compiled = in_openvino(path, [1, 3, side, side])
    return {
        "PyTorch's ONNX, ONNX Runtime": lambda x: session.run(None, {name: x})[0],
        "PyTorch's ONNX, OpenVINO": compiled,
    }


def in_openvino(path: Path, shape: list[int]) -> Route:
    """A file of OpenVINO or ONNX for images of one shape."""
    import openvino as runtime

    core = runtime.Core()
    model = core.read_model(path)
    model.reshape({model.inputs[0]: shape})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: np.array(compiled(x)[0])


def measure(
    model: tf.keras.Model, width: float, side: int, folder: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Medians of all routes at one size, and the multiply-adds of the network there."""
    x = np.random.default_rng(0).random((1, side, side, 3), dtype=np.float32)
    tensor = tf.constant(x)
    expected = model(tensor, training=False).numpy()
    timed: dict[str, Timed] = {_CEILING: here(matrix_product())}
    for given, routes in ((tensor, in_tensorflow(model)), (x, from_files(folder, side))):
        for name, run in routes.items():
            tolerance = 5e-3 if "float16" in name else 1e-5
            if not np.allclose(np.asarray(run(given)), expected, atol=tolerance):
                raise SystemExit(f"{name}: another answer.")
            timed[name] = here(lambda run, given: np.asarray(run(given)), run, given)
    about: dict[str, Any] = {}
    if arguments.torch_python:
        path = folder / f"torch-{side}.onnx"
        command = [arguments.torch_python, str(_TORCH), "table-1", str(side)]
        child = Child([*command, "--width", str(width), "--onnx", str(path)])
        about, timed["PyTorch, eager"] = child.about, child
        planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        for name, run in from_torch(path, side).items():
            timed[name] = here(run, planes)
    seconds = medians(timed, arguments.rounds)
    if arguments.torch_python:
        child.close()
    rate = product_rate(seconds.pop(_CEILING))
    return {"seconds": seconds, "matrix_product_flop_per_second": rate, **about}


def main() -> None:
    """Prints the figures, and keeps them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch-python", help="of an environment with PyTorch and onnx")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    width = arguments.width
    model = autoencoder(ModelConfig(width), training_size=512)
    sizes: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="ssae_tf_") as name:
        write_files(model, Path(name))
        for side in arguments.sizes:
            sizes[str(side)] = measure(model, width, side, Path(name), arguments)
    content = {"width": width, "sizes": sizes}
    write_result(arguments.out, content, PYTHON=arguments.torch_python)


if __name__ == "__main__":
    main()
