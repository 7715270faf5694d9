"""Eight bits lose little of what they would lose otherwise, and equalization nothing."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.export.network import Dilated, folded
from ssae_tf.export.quantization import equalize, round_weights, rounded_matrix
from ssae_tf.models.autoencoder import autoencoder
from stand_ins import randomize


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Smooth pictures, (8, 32, 32, 3)."""
    rng = np.random.default_rng(5)
    coarse = rng.random((8, 5, 5, 3), dtype=np.float32)
    return tf.image.resize(coarse, (32, 32), "bicubic").numpy().clip(0.0, 1.0)


@pytest.fixture
def network() -> tf.keras.Model:
    """A folded network whose channels have very different ranges, and large weights among small."""
    config = ModelConfig(width=0.0625, start="low_pass", reach=0.5)
    model = autoencoder(config, training_size=32)
    randomize(model)
    copy = folded(model)
    layer = copy.get_layer("encoder2_conv1")
    kernel, bias = layer.get_weights()
    ranges = np.geomspace(1.0, 300.0, kernel.shape[-1]).astype(np.float32)
    layer.set_weights([kernel * ranges, bias * ranges])
    layer = copy.get_layer("encoder2_conv2")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel / ranges[:, None], bias])
    return copy


def _relu_outputs(network: tf.keras.Model, x: np.ndarray) -> dict[str, np.ndarray]:
    layers = [layer for layer in network.layers if isinstance(layer, tf.keras.layers.ReLU)]
    probe = tf.keras.Model(network.input, [layer.output for layer in layers])
    outputs = probe(tf.constant(x), training=False)
    return {layer.name: output.numpy() for layer, output in zip(layers, outputs, strict=True)}


def _rounded_to_nearest(network: tf.keras.Model) -> None:
    """What a converter does by itself."""
    for layer in network.layers[:-1]:
        if layer.weights:
            kernel, bias = layer.get_weights()
            axes = (0, 1, 3) if isinstance(layer, tf.keras.layers.Conv2DTranspose) else (0, 1, 2)
            step = np.abs(kernel).max(axis=axes, keepdims=True) / 127
            layer.set_weights([np.round(kernel / np.maximum(step, 1e-12)) * step, bias])


def _copy(network: tf.keras.Model) -> tf.keras.Model:
    copy = tf.keras.models.clone_model(network, clone_function=_cloned)
    copy.set_weights(network.get_weights())
    return copy


def _cloned(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    if isinstance(layer, Dilated):
        return Dilated(layer.filters, layer.kernel_size, layer.rate, name=layer.name)
    return type(layer).from_config(layer.get_config())


def test_equalization_changes_ranges_and_no_answer(
    network: tf.keras.Model, crops: np.ndarray, rng: np.random.Generator
) -> None:
    x = rng.random((2, 40, 48, 3), dtype=np.float32)
    expected = network(x, training=False).numpy()
    before = _relu_outputs(network, crops)
    equalize(network, crops)
    np.testing.assert_allclose(network(x, training=False), expected, atol=5e-6)
    after = _relu_outputs(network, crops)
    assert list(after) == list(before)
    for name, values in after.items():
        largest = values.max(axis=(0, 1, 2))
        alive = before[name].max(axis=(0, 1, 2)) > 0.0
        assert largest.max() == pytest.approx(1.0, rel=1e-4), name
        np.testing.assert_array_equal(largest > 0.0, alive)
    wide = before["encoder2_conv1_relu"].max(axis=(0, 1, 2))
    narrow = after["encoder2_conv1_relu"].max(axis=(0, 1, 2))
    assert wide[wide > 0].max() / wide[wide > 0].min() > 50.0
    assert narrow[narrow > 0].max() / narrow[narrow > 0].min() < 20.0


def test_ranges_are_those_of_pictures_of_any_size(
    network: tf.keras.Model, crops: np.ndarray, rng: np.random.Generator
) -> None:
    """And not of the crops that the rounding goes by, whose values are smaller."""
    pictures = [rng.random((height, 24, 3), dtype=np.float32) for height in (16, 40)]
    highest = equalize(network, pictures)
    assert max(highest.values()) == pytest.approx(1.0)
    round_weights(network, 0.1 * crops)
    largest = [
        values.max()
        for picture in pictures
        for values in _relu_outputs(network, picture[None]).values()
    ]
    # Rounding moves them a little.
    assert max(largest) == pytest.approx(1.0, rel=0.1)


def test_a_channel_on_which_nothing_depends_gets_no_range(crops: np.ndarray) -> None:
    """It may be anything on other pictures, and would make the steps of all others coarser."""
    layers = tf.keras.layers
    inputs = tf.keras.Input((None, None, 3))
    x = layers.Conv2D(2, 1, bias_initializer="ones", kernel_initializer="zeros")(inputs)
    outputs = layers.Conv2D(3, 1, kernel_initializer="zeros")(layers.ReLU(name="relu")(x))
    model = tf.keras.Model(inputs, outputs)
    first, last = model.layers[1], model.layers[3]
    first.set_weights([np.zeros((1, 1, 3, 2), np.float32), np.array([1.0, 1e-3], np.float32)])
    kernel = np.zeros((1, 1, 2, 3), np.float32)
    kernel[0, 0, 0], kernel[0, 0, 1] = 1.0, 1.0
    last.set_weights([kernel, np.zeros(3, np.float32)])
    equalize(model, crops)
    # A thousandth of the effect: a fifth is assumed.
    np.testing.assert_allclose(first.get_weights()[1], [1.0, 1e-3 / 0.2], rtol=1e-5)


def test_a_dead_layer_stays(crops: np.ndarray) -> None:
    layers = tf.keras.layers
    inputs = tf.keras.Input((None, None, 3))
    x = layers.ReLU()(layers.Conv2D(2, 1, kernel_initializer="zeros")(inputs))
    model = tf.keras.Model(inputs, layers.Conv2D(3, 1)(x))
    before = model.get_weights()
    equalize(model, crops)
    round_weights(model, crops)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


def test_weights_lie_on_the_converters_steps(network: tf.keras.Model, crops: np.ndarray) -> None:
    """Rounding to the nearest afterwards, as a converter does, changes nothing more."""
    last = network.layers[-1].get_weights()
    round_weights(network, crops)
    expected = network.get_weights()
    _rounded_to_nearest(network)
    for weight, wanted in zip(network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(weight, wanted, rtol=1e-5, atol=1e-7)
    for weight, wanted in zip(network.layers[-1].get_weights(), last, strict=True):
        np.testing.assert_array_equal(weight, wanted)


def test_less_is_lost_than_by_rounding_to_the_nearest(
    network: tf.keras.Model, crops: np.ndarray
) -> None:
    """On crops that the rounding has not seen."""
    x, seen = crops[:2], crops[2:]
    expected = network(x, training=False).numpy()
    nearest = _copy(network)
    _rounded_to_nearest(nearest)
    lost = np.abs(nearest(x, training=False) - expected).mean()
    equalize(network, seen)
    round_weights(network, seen)
    kept = np.abs(network(x, training=False) - expected).mean()
    assert lost > 1e-4
    assert kept < 0.5 * lost


def test_the_mean_stays(network: tf.keras.Model, crops: np.ndarray) -> None:
    expected = _relu_outputs(network, crops)
    before = network.get_layer("decoder1_conv2")
    mean = tf.keras.Model(network.input, before.output)(crops).numpy().mean(axis=(0, 1, 2))
    round_weights(network, crops)
    after = network.get_layer("decoder1_conv2")
    found = tf.keras.Model(network.input, after.output)(crops).numpy().mean(axis=(0, 1, 2))
    np.testing.assert_allclose(found, mean, atol=1e-4 * max(1.0, np.abs(mean).max()))
    assert set(expected) == set(_relu_outputs(network, crops))


class TestRoundedMatrix:
    def test_errors_make_up_for_each_other(self) -> None:
        """Two inputs that are always equal: the sum of their weights is what counts."""
        inputs = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 2, axis=1)
        inputs = np.concatenate([inputs, np.random.default_rng(1).normal(size=(50, 1))], axis=1)
        matrix = np.array([[0.4], [0.4], [127.0]])
        rounded = rounded_matrix(matrix, inputs)
        # To the nearest, both would be 0 and 0.8 be lost.
        assert sorted(rounded[:, 0]) == [0.0, 1.0, 127.0]

    def test_the_largest_keeps_its_value(self, rng: np.random.Generator) -> None:
        matrix, inputs = rng.normal(size=(30, 7)), rng.normal(size=(100, 30))
        rounded = rounded_matrix(matrix, inputs)
        where = np.abs(matrix).argmax(axis=0)
        np.testing.assert_allclose(
            rounded[where, range(7)], matrix[where, range(7)], rtol=1e-12, atol=0
        )
        steps = rounded / (np.abs(matrix).max(axis=0) / 127)
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
        assert np.abs(steps).max() <= 127 + 1e-9

    def test_products_change_less(self, rng: np.random.Generator) -> None:
        """300 rows, more than are rounded between two updates, of correlated inputs."""
        matrix = rng.normal(size=(300, 5))
        mixing = rng.normal(size=(40, 300))
        inputs = rng.normal(size=(900, 40)) @ mixing + 0.1 * rng.normal(size=(900, 300))
        step = np.abs(matrix).max(axis=0) / 127
        nearest = np.round(matrix / step) * step
        rounded = rounded_matrix(matrix, inputs)

        def lost(candidate: np.ndarray) -> float:
            return float(np.square(inputs @ (candidate - matrix)).mean())

        assert lost(rounded) < 0.2 * lost(nearest)

    def test_zeros(self) -> None:
        """Of the matrix, and of the inputs."""
        assert not rounded_matrix(np.zeros((4, 2)), np.ones((3, 4))).any()
        matrix = np.array([[127.0, 1.0], [0.6, 127.0]])
        expected = [[127.0, 1.0], [1.0, 127.0]]
        np.testing.assert_allclose(rounded_matrix(matrix, np.zeros((3, 2))), expected)
