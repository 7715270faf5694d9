"""ONNX: one file for float images and one for uint8, opset 17, run with ONNX Runtime."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ssae_tf.errors import RunError
from ssae_tf.export.names import FLOAT, GIVEN_THRESHOLD, PICTURE, PIXELS, WITH_THRESHOLD
from ssae_tf.files import atomic
from ssae_tf.runtime.machine import usable_cpus

OPSET = 17
FILES = {FLOAT: "model.onnx", PIXELS: "model_u8.onnx"}

# The axes of inputs and outputs by rank.
_AXES = {1: ("batch",), 3: ("batch", "height", "width"), 4: ("batch", "height", "width", "")}


def convert(saved_model: str, out: str, threshold: float | None = None) -> None:
    """Writes both files; for a process of its own.

    Args:
        saved_model: what `savedmodel.write` made.
        threshold: the default of the optional input `given_threshold`; None leaves the input out,
            and the graph keeps its own.

    Raises:
        RunError: tf2onnx left something that is no ONNX.
    """
    import onnx

    signature = FLOAT if threshold is None else FLOAT + WITH_THRESHOLD
    model = _converted(saved_model, signature)
    _pad_explicitly(model)
    _crop_in_place(model)
    _name_axes(model)
    if threshold is not None:
        # An input with an initial value may be left out by the caller.
        value = onnx.numpy_helper.from_array(np.array([threshold], np.float32), GIVEN_THRESHOLD)
        model.graph.initializer.append(value)
    _save(model, Path(out))


def _save(model: Any, folder: Path) -> None:
    import onnx

    for name, content in ((FLOAT, model), (PIXELS, _from_pixels(model))):
        # What tf2onnx can't convert it leaves as an operation that ONNX has not.
        try:
            onnx.checker.check_model(content, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise RunError(f"The ONNX graph is not valid ({_first_line(error)}).") from None
        with atomic(folder / FILES[name]) as temporary:
            onnx.save(content, str(temporary))


def _converted(saved_model: str, signature: str) -> Any:
    import onnx
    from tf2onnx import convert as tf2onnx_convert

    with tempfile.TemporaryDirectory(prefix="ssae_tf_") as folder:
        path = Path(folder) / "model.onnx"
        # The command, because only it names inputs and outputs as the signature does.
        command = ["tf2onnx.convert", "--saved-model", saved_model, "--signature_def", signature]
        command += ["--opset", str(OPSET), "--output", str(path)]
        with mock.patch.object(sys, "argv", command):
            tf2onnx_convert.main()
        return onnx.load(path)


def _pad_explicitly(model: Any) -> None:
    """Writes out what "same" padding means: ONNX Runtime knows it not for dilated convolutions."""
    import onnx

    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if not attributes.get("auto_pad", b"NOTSET").startswith(b"SAME"):
            continue
        kernel = attributes["kernel_shape"]
        dilations = attributes.get("dilations", [1] * len(kernel))
        strides = attributes.get("strides", [1] * len(kernel))
        # What the network sees is a multiple of its strides.
        missing = [
            max(0, rate * (side - 1) + 1 - stride)
            for side, rate, stride in zip(kernel, dilations, strides, strict=True)
        ]
        pads = [many // 2 for many in missing] + [many - many // 2 for many in missing]
        kept = [one for one in node.attribute if one.name not in ("auto_pad", "pads")]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("pads", pads)])


def _crop_in_place(model: Any) -> None:
    """Has transposed convolutions leave out the last row and column that "same" padding cuts off.

    tf2onnx cuts them off afterwards, to a size computed from the shape: runtimes copied the largest
    maps of the network for it, and could not join the convolution with its activation.
    """
    import onnx

    nodes = model.graph.node
    for node in nodes:
        if node.op_type != "ConvTranspose":
            continue
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        too_much = [
            side - stride
            for side, stride in zip(attributes["kernel_shape"], attributes["strides"], strict=True)
        ]
        if "pads" in attributes or too_much != [1, 1]:
            continue
        cropped = node.output[0]
        while after := [
            one.output[0]
            for one in nodes
            if one.op_type in ("Slice", "Pad") and one.input[0] == cropped
        ]:
            (cropped,) = after
        node.attribute.append(onnx.helper.make_attribute("pads", [0, 0, 1, 1]))
        for other in nodes:
            for index, name in enumerate(other.input):
                if name == cropped:
                    other.input[index] = node.output[0]
    _drop_unused(model.graph)


def _drop_unused(graph: Any) -> None:
    """Removes the nodes and constants that no output depends on."""
    needed = {output.name for output in graph.output}
    nodes = []
    # In topological order, so that who needs a node comes after it.
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(_taken(node))
            nodes.append(node)
    constants = [one for one in graph.initializer if one.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(constants)


def _taken(node: Any) -> Iterator[str]:
    """The names of what a node takes, also within its loops, which see what is around them."""
    yield from node.input
    for attribute in node.attribute:
        yield from (output.name for output in attribute.g.output)
        for inner in attribute.g.node:
            yield from _taken(inner)


def _name_axes(model: Any) -> None:
    """Names the sizes that are not fixed; tf2onnx numbers them."""
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        for dimension, axis in zip(dimensions, _AXES[len(dimensions)], strict=True):
            if not dimension.HasField("dim_value"):
                dimension.dim_param = axis


def _from_pixels(model: Any) -> Any:
    """The same graph with uint8 images, 0 … 255."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == PICTURE:
                node.input[index] = f"{PICTURE}_float"
    (image,) = (value for value in graph.input if value.name == PICTURE)
    image.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    white = onnx.numpy_helper.from_array(np.array(255.0, np.float32), f"{PICTURE}_white")
    graph.initializer.append(white)
    make = onnx.helper.make_node
    cast = make("Cast", [PICTURE], [f"{PICTURE}_cast"], to=onnx.TensorProto.FLOAT)
    divide = make("Div", [f"{PICTURE}_cast", white.name], [f"{PICTURE}_float"])
    nodes = [cast, divide, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return copy


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class OnnxRuntime:
    """Runs both files with ONNX Runtime on the CPU."""

    def __init__(self, folder: Path) -> None:
        """Loads the files when they are first needed."""
        self._folder = folder
        self._sessions: dict[str, Any] = {}

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of one call, by name."""
        session = self._session(signature)
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def _session(self, signature: str) -> Any:
        if signature not in self._sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            # Errors come as exceptions.
            options.log_severity_level = 4
            # It counts all cores, and threads that share one wait for each other awake.
            options.intra_op_num_threads = usable_cpus()
            self._sessions[signature] = onnxruntime.InferenceSession(
                str(self._folder / FILES[signature]), options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[signature]
