"""Rewrites a TFLite file so that its network is stored, and where asked computed, in 8 bits.

TensorFlow's converter computes all of a network in 8 bits or nothing, finds the ranges by calls of
its own, and rounds the activations of a network with 8-bit weights at every call. Here every layer
has what it can bear: weights of 8 bits everywhere, and integers for the layers that are named.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ssae_tf.export.network import LAST_LAYER, NAME

_Kind = schema.BuiltinOperator
# Where the picture, the weights and the bias stand among the inputs.
_CONVOLUTIONS = {_Kind.CONV_2D: (0, 1, 2), _Kind.TRANSPOSE_CONV: (2, 1, 3)}
# The oldest versions of operations that know of 8 bits; weights have a step for each channel.
_VERSIONS = {
    _Kind.CONV_2D: 3,
    _Kind.TRANSPOSE_CONV: 4,
    _Kind.MAX_POOL_2D: 2,
    _Kind.CONCATENATION: 2,
    _Kind.RELU: 2,
    _Kind.QUANTIZE: 1,
    _Kind.DEQUANTIZE: 5,
}
# Whose steps are those of what they get.
_PASSING = (_Kind.MAX_POOL_2D, _Kind.CONCATENATION, _Kind.RELU)
_TYPES = {
    np.int8: schema.TensorType.INT8,
    np.int32: schema.TensorType.INT32,
    np.float16: schema.TensorType.FLOAT16,
}
_WEIGHT_STEPS, _STEPS, _LOWEST = 127, 255, -128
# Of a picture, which a network's first layer gets.
_WHITE = 1.0
# Of the vectors that hold numbers, in bytes: the format asks for it.
_ALIGNMENT = 16


def in_eight_bits(content: bytes, layers: Collection[str], highest: Mapping[str, float]) -> bytes:
    """Puts layers of the network of a float32 file into 8 bits, and the others' weights into 16.

    Args:
        content: of the file.
        layers: the names of ReLUs; the convolutions right before them are put into 8 bits.
        highest: the highest output of every ReLU, by its name, where these layers are computed in
            integers; empty where only their weights are stored so.

    Returns:
        The new file. Layers in float get their weights through an operation that the runtime
        performs once, on loading. The network's last layer is left alone.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    rewriting = _Rewriting(model, layers, highest)
    for graph in model.subgraphs:
        _Subgraph(rewriting, graph).rewrite()
    rewriting.share_buffers()
    builder = _Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):
    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
        """As the schema says, which the Python classes made of it forget."""
        return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)


class _Rewriting:
    """What the subgraphs of a model share: kinds of operations, and buffers."""

    def __init__(self, model: Any, layers: Collection[str], highest: Mapping[str, float]) -> None:
        self.model = model
        self.layers = layers
        self.highest = highest
        self.kinds = [
            max(one.builtinCode, one.deprecatedBuiltinCode) for one in model.operatorCodes
        ]

    def code(self, kind: int) -> int:
        """The index of a kind of operation, in a version that knows of 8 bits."""
        if kind not in self.kinds:
            self.kinds.append(kind)
            # The old field has 7 bits.
            old = min(kind, 127)
            code = schema.OperatorCodeT(builtinCode=kind, deprecatedBuiltinCode=old, version=1)
            self.model.operatorCodes.append(code)
        index = self.kinds.index(kind)
        code = self.model.operatorCodes[index]
        code.version = max(code.version, _VERSIONS[kind])
        return index

    def numbers(self, tensor: Any) -> np.ndarray:
        """Those of a constant of float32."""
        data = np.asarray(self.model.buffers[tensor.buffer].data, np.uint8)
        return data.view(np.float32).reshape(tensor.shape)

    def buffer(self, numbers: np.ndarray) -> int:
        """The index of a new buffer."""
        self.model.buffers.append(schema.BufferT(data=numbers.reshape(-1).view(np.uint8)))
        return len(self.model.buffers) - 1

    def share_buffers(self) -> None:
        """Keeps each content once, and none that no tensor has."""
        tensors = [tensor for graph in self.model.subgraphs for tensor in graph.tensors]
        first: dict[bytes, int] = {}
        for tensor in tensors:
            data = self.model.buffers[tensor.buffer].data
            if data is not None and len(data):
                tensor.buffer = first.setdefault(np.asarray(data).tobytes(), tensor.buffer)
        kept = {tensor.buffer for tensor in tensors}
        kept |= {one.buffer for one in self.model.metadata or ()}
        for index, buffer in enumerate(self.model.buffers):
            if index not in kept:
                buffer.data = None


class _Subgraph:
    """One subgraph while it is rewritten.

    A tensor keeps its index for its float form; its 8-bit form is a new one.
    """

    def __init__(self, rewriting: _Rewriting, graph: Any) -> None:
        self.rewriting = rewriting
        self.graph = graph
        self.tensors = graph.tensors
        self.layer_of = _layers(rewriting, graph)
        # The stored form of tensors, and those of them whose float form is still to be made.
        self.stored: dict[int, int] = {}
        self.owed: set[int] = set()
        self.operations: list[Any] = []

    def rewrite(self) -> None:
        """Replaces the operations."""
        for operation in self.graph.operators:
            kind = self.rewriting.kinds[operation.opcodeIndex]
            if kind in _CONVOLUTIONS and _is_rounded(self._name(operation.outputs[0])):
                self._convolution(operation, kind)
            elif kind in _PASSING and self._is_integer(operation):
                operation.inputs = [self._integer(tensor) for tensor in operation.inputs]
                self._answers_in_integers(operation, kind)
            elif kind == _Kind.SHAPE:
                tensor = operation.inputs[0]
                operation.inputs = [self.stored[tensor] if tensor in self.owed else tensor]
            self._make_floats(operation.inputs)
            self.operations.append(operation)
        self._make_floats(self.graph.outputs)
        self.graph.operators = self.operations

    def _convolution(self, operation: Any, kind: int) -> None:
        inputs = list(operation.inputs)
        places = [at for at in _CONVOLUTIONS[kind] if at < len(inputs) and inputs[at] >= 0]
        picture, weights, *bias = (inputs[at] for at in places)
        if weights not in self.stored:
            numbers = self.rewriting.numbers(self.tensors[weights])
            if self._is_chosen(operation):
                step = np.maximum(np.abs(numbers).max(axis=(1, 2, 3)), 1e-12) / _WEIGHT_STEPS
                numbers = np.round(numbers / step[:, None, None, None]).astype(np.int8)
                self.stored[weights] = self._constant(weights, numbers, step)
            else:
                self.stored[weights] = self._constant(weights, numbers.astype(np.float16))
            # Its own numbers are no longer stored.
            self.tensors[weights].buffer = 0
            self.owed.add(weights)
        if not self._is_integer(operation):
            return
        step = self.tensors[self.stored[weights]].quantization.scale * self._step(picture)
        replaced = {picture: self._integer(picture), weights: self.stored[weights]}
        # The converter leaves out one that is zero.
        for one in bias:
            numbers = np.round(self.rewriting.numbers(self.tensors[one]) / step)
            replaced[one] = self._constant(one, numbers.astype(np.int32), step)
        operation.inputs = [replaced.get(tensor, tensor) for tensor in inputs]
        self._answers_in_integers(operation, kind)

    def _is_chosen(self, operation: Any) -> bool:
        return self.layer_of.get(operation.outputs[0]) in self.rewriting.layers

    def _is_integer(self, operation: Any) -> bool:
        """Whether an operation is among those to be computed in integers."""
        return bool(self.rewriting.highest) and self._is_chosen(operation)

    def _step(self, activation: int) -> float:
        """Of an activation's 8-bit form; what is no layer's output is the picture."""
        layer = self.layer_of.get(activation)
        return (_WHITE if layer is None else self.rewriting.highest[layer]) / _STEPS

    def _answers_in_integers(self, operation: Any, kind: int) -> None:
        operation.opcodeIndex = self.rewriting.code(kind)
        (output,) = operation.outputs
        operation.outputs = [self._activation(output)]
        self.owed.add(output)

    def _integer(self, tensor: int) -> int:
        """The 8-bit form of an activation."""
        if tensor not in self.stored:
            self._append(_Kind.QUANTIZE, tensor, self._activation(tensor))
        return self.stored[tensor]

    def _make_floats(self, tensors: Iterable[int]) -> None:
        """Makes the float form of those that are about to be read."""
        for tensor in self.owed.intersection(tensors):
            self._append(_Kind.DEQUANTIZE, self.stored[tensor], tensor)
            self.owed.remove(tensor)

    def _append(self, kind: int, source: int, output: int) -> None:
        code = self.rewriting.code(kind)
        self.operations.append(
            schema.OperatorT(opcodeIndex=code, inputs=[source], outputs=[output])
        )

    def _activation(self, tensor: int) -> int:
        """Makes the 8-bit form of an activation."""
        step = np.array([self._step(tensor)])
        self.stored[tensor] = self._new(tensor, schema.TensorType.INT8, 0, step, _LOWEST)
        return self.stored[tensor]

    def _constant(self, like: int, numbers: np.ndarray, step: np.ndarray | None = None) -> int:
        kind = _TYPES[numbers.dtype.type]
        return self._new(like, kind, self.rewriting.buffer(numbers), step)

    def _new(
        self, like: int, kind: int, buffer: int, step: np.ndarray | None, zero: int = 0
    ) -> int:
        """Adds a tensor of another's shape, and gives its index."""
        tensor = copy.copy(self.tensors[like])
        tensor.name = f"{self._name(like)}_{len(self.tensors)}".encode()
        tensor.type, tensor.buffer = kind, buffer
        if step is not None:
            tensor.quantization = schema.QuantizationParametersT(
                scale=step.astype(np.float32), zeroPoint=np.full(len(step), zero, np.int64)
            )
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _name(self, tensor: int) -> str:
        return self.tensors[tensor].name.decode()


def _is_rounded(name: str) -> bool:
    """Whether an operation's weights have 8 bits, by the name of its output."""
    return NAME in name and LAST_LAYER not in name


def _layers(rewriting: _Rewriting, graph: Any) -> dict[int, str]:
    """The layer that each tensor is the output of, by its index."""
    names = {*rewriting.layers, *rewriting.highest}
    found: dict[int, str] = {}
    for index, tensor in enumerate(graph.tensors):
        # "ssae/first_relu/Relu;ssae/first/BiasAdd", with a number behind a name that came before.
        for part in re.split("[/;]", tensor.name.decode()):
            layer = part if part in names else re.sub(r"_\d+$", "", part)
            if layer in names:
                found[index] = layer
    kinds = [rewriting.kinds[operation.opcodeIndex] for operation in graph.operators]
    for kind, operation in zip(kinds, graph.operators, strict=True):
        if kind == _Kind.MAX_POOL_2D and operation.inputs[0] in found:
            found[operation.outputs[0]] = found[operation.inputs[0]]
    # Branches that are joined before the ReLU: integers are cut off at 0 already.
    for kind, operation in zip(reversed(kinds), reversed(graph.operators), strict=True):
        if kind in (_Kind.CONCATENATION, _Kind.RELU) and operation.outputs[0] in found:
            found |= dict.fromkeys(map(int, operation.inputs), found[operation.outputs[0]])
    return found
