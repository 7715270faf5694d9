"""A rewritten file computes what it says: steps of 8 bits where asked, the float network else."""

from __future__ import annotations

import collections
from collections.abc import Collection

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from ssae_tf.export.eight_bits import in_eight_bits
from ssae_tf.export.network import Dilated

LAYERS = ("first_relu", "joined_relu", "up_relu")
TYPES = {value: name for name, value in vars(schema.TensorType).items()}
KINDS = {value: name for name, value in vars(schema.BuiltinOperator).items()}


@pytest.fixture(scope="module")
def network() -> tf.keras.Model:
    """All kinds of layers of Table 1, with weights that 8 and 16 bits hold as they are."""
    layers = tf.keras.layers
    inputs = tf.keras.Input((None, None, 3), name="picture")
    x = layers.ReLU(name="first_relu")(layers.Conv2D(4, 3, padding="same", name="first")(inputs))
    x = layers.MaxPooling2D(2)(x)
    x = layers.Concatenate()([Dilated(4, 3, rate, name=f"rate{rate}")(x) for rate in (1, 2)])
    x = layers.ReLU(name="joined_relu")(x)
    up = layers.Conv2DTranspose(6, 3, strides=2, padding="same", name="up")
    x = layers.ReLU(name="up_relu")(up(x))
    outputs = layers.Conv2D(3, 1, name="reconstruction")(x)
    model = tf.keras.Model(inputs, outputs, name="ssae")
    rng = np.random.default_rng(4)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = (rng.normal(size=weight.shape) for weight in layer.get_weights())
            axes = (0, 1, 3) if layer is up else (0, 1, 2)
            steps = np.round(127 * kernel / np.abs(kernel).max(axis=axes, keepdims=True))
            layer.set_weights([steps / 64, 0.1 * bias])
    return model


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Whole steps of 255, (4, 16, 24, 3) float32."""
    pixels = np.random.default_rng(6).integers(0, 256, (4, 16, 24, 3))
    return (pixels / 255.0).astype(np.float32)


@pytest.fixture(scope="module")
def highest(network: tf.keras.Model, pictures: np.ndarray) -> dict[str, float]:
    """The highest output of every layer on the pictures."""
    outputs = tf.keras.Model(network.input, [network.get_layer(one).output for one in LAYERS])
    return {
        name: float(output.numpy().max())
        for name, output in zip(LAYERS, outputs(pictures), strict=True)
    }


@pytest.fixture(scope="module")
def content(network: tf.keras.Model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The network in float32, twice, as the signatures of an artefact hold it."""
    folder = tmp_path_factory.mktemp("network") / "saved_model"
    archive = tf.keras.export.ExportArchive()
    spec = [tf.TensorSpec((None, None, None, 3), tf.float32, name="x")]
    for name, factor in (("one", 1.0), ("other", 2.0)):
        function = tf.function(lambda x, factor=factor: {"y": factor * network(x)})
        archive.add_endpoint(name, function, spec)
    archive.write_out(str(folder))
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder), signature_keys=["one", "other"]
    )
    return converter.convert()


def _run(content: bytes, x: np.ndarray, name: str = "one") -> np.ndarray:
    return Interpreter(model_content=content).get_signature_runner(name)(x=x)["y"]


def _expected(
    network: tf.keras.Model, x: np.ndarray, rounded: Collection[str], highest: dict[str, float]
) -> np.ndarray:
    """The network with some outputs rounded to 255 steps."""

    def output(name: str, given: tf.Tensor) -> tf.Tensor:
        value = tf.nn.relu(given)
        if name not in rounded:
            return value
        step = highest[name] / 255
        return tf.round(tf.minimum(value, highest[name]) / step) * step

    layer = network.get_layer
    pooled = tf.nn.max_pool2d(output("first_relu", layer("first")(x)), 2, 2, "VALID")
    joined = tf.concat([layer("rate1")(pooled), layer("rate2")(pooled)], axis=-1)
    up = output("up_relu", layer("up")(output("joined_relu", joined)))
    return layer("reconstruction")(up).numpy()


def _types(content: bytes) -> collections.Counter[tuple[str, str]]:
    """How many operations of each kind answer in each type, in the first subgraph."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    return collections.Counter(
        (
            KINDS[model.operatorCodes[operation.opcodeIndex].builtinCode],
            TYPES[graph.tensors[operation.outputs[0]].type],
        )
        for operation in graph.operators
    )


def test_weights_alone_are_stored(
    network: tf.keras.Model, content: bytes, pictures: np.ndarray
) -> None:
    rewritten = in_eight_bits(content, LAYERS, {})
    expected = network(pictures).numpy()
    for name, factor in (("one", 1.0), ("other", 2.0)):
        found = _run(rewritten, pictures, name)
        np.testing.assert_allclose(found, factor * expected, rtol=1e-5, atol=2e-4)
    types = _types(rewritten)
    assert types["CONV_2D", "FLOAT32"] + types["TRANSPOSE_CONV", "FLOAT32"] == 5
    # The kernels but for the last layer's.
    assert types["DEQUANTIZE", "FLOAT32"] == 4
    assert not types["QUANTIZE", "INT8"]


def test_layers_left_out_have_weights_of_16_bits(
    network: tf.keras.Model, content: bytes, pictures: np.ndarray
) -> None:
    rewritten = in_eight_bits(content, ("up_relu",), {})
    expected = network(pictures).numpy()
    np.testing.assert_allclose(_run(rewritten, pictures), expected, rtol=1e-5, atol=2e-4)
    model = schema.ModelT.InitFromPackedBuf(rewritten, 0)
    types = collections.Counter(TYPES[tensor.type] for tensor in model.subgraphs[0].tensors)
    assert (types["INT8"], types["FLOAT16"]) == (1, 3)


@pytest.mark.parametrize(
    ("layers", "rounded", "integers", "passages"),
    [
        (LAYERS, LAYERS, 4, (1, 1)),
        # The pooling in between is one of them.
        (("first_relu",), ("first_relu",), 1, (1, 1)),
        (("joined_relu",), ("first_relu", "joined_relu"), 2, (1, 1)),
        (("first_relu", "up_relu"), LAYERS, 2, (2, 2)),
    ],
)
def test_chosen_layers_are_computed_in_integers(
    layers: tuple[str, ...],
    rounded: tuple[str, ...],
    integers: int,
    passages: tuple[int, int],
    network: tf.keras.Model,
    content: bytes,
    pictures: np.ndarray,
    highest: dict[str, float],
) -> None:
    rewritten = in_eight_bits(content, layers, highest)
    types = _types(rewritten)
    assert types["CONV_2D", "INT8"] + types["TRANSPOSE_CONV", "INT8"] == integers
    weights = 4 - integers
    assert (types["QUANTIZE", "INT8"], types["DEQUANTIZE", "FLOAT32"] - weights) == passages
    found = _run(rewritten, pictures)
    expected = _expected(network, pictures, rounded, highest)
    # A value between two steps may be rounded to either, which few are.
    exact = network(pictures).numpy()
    assert np.abs(found - expected).mean() < 0.05 * np.abs(exact - expected).mean()
    assert np.abs(found - expected).max() < 0.02 * exact.std()


def test_each_content_is_stored_once_and_where_the_format_asks(content: bytes) -> None:
    rewritten = in_eight_bits(content, LAYERS, {})
    model = schema.ModelT.InitFromPackedBuf(rewritten, 0)
    stored = [
        np.asarray(buffer.data).tobytes()
        for buffer in model.buffers
        if buffer.data is not None and len(buffer.data)
    ]
    assert len(set(stored)) == len(stored)
    for data in stored:
        if len(data) >= 64:
            assert rewritten.find(data) % 16 == 0
    assert len(rewritten) < len(content)
