"""Training with normalisation folded into kernels: the same values and gradients, fewer passes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.blocks import BatchNormalization
from ssae_tf.models.folded import folded_pass


@pytest.fixture(params=["table 1", "reach 0.25, residual"])
def model(request, rng):
    """The network with statistics and weights of normalisation that are none of the initial."""
    settings = {} if request.param == "table 1" else {"reach": 0.25, "residual": True}
    return frozen(autoencoder(ModelConfig(width=0.0625, **settings), training_size=64), rng)


def frozen(model, rng):
    for layer in model.layers:
        if isinstance(layer, BatchNormalization):
            layer.mode = "moving"
            for variable in layer.weights:
                variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype(np.float32))
    if model.layers[-1].name == "repaired":
        last = model.get_layer("reconstruction")
        last.kernel.assign(rng.normal(size=last.kernel.shape).astype(np.float32))
    return model


@pytest.fixture
def x(rng):
    return tf.constant(rng.random((2, 64, 48, 3)), tf.float32)


def test_values_and_gradients_are_the_networks(model, x, rng):
    weights = rng.normal(size=x.shape).astype(np.float32)
    variables = model.trainable_variables

    def run(network):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = network(x)
            total = tf.reduce_sum(weights * y)
        return y, tape.gradient(total, [x, *variables])

    expected, wanted = run(lambda x: model(x, training=True))
    found, gradients = run(lambda x: folded_pass(model, x))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for gradient, other in zip(gradients, wanted, strict=True):
        largest = np.abs(other).max()
        assert largest > 0
        np.testing.assert_allclose(gradient, other, rtol=0, atol=1e-4 * largest)


def test_nothing_is_multiplied_or_added_to_maps(model):
    graph = tf.function(lambda x: folded_pass(model, x)).get_concrete_function(
        tf.TensorSpec((7, 64, 64, 3))
    )
    operations = graph.graph.get_operations()
    passes = [
        op for op in operations if op.type in ("Mul", "AddV2") and op.outputs[0].shape[0] == 7
    ]
    assert len(passes) == (model.layers[-1].name == "repaired")


def test_sizes_may_be_unknown(rng, x):
    model = frozen(autoencoder(ModelConfig(width=0.0625), training_size=64), rng)
    unknown = tf.TensorSpec((None, None, None, 3))
    run = tf.function(lambda x: folded_pass(model, x), input_signature=[unknown])
    plain = tf.function(lambda x: model(x, training=True), input_signature=[unknown])
    np.testing.assert_allclose(run(x), plain(x), rtol=1e-5, atol=1e-5)


def test_bfloat16_stays_close(x):
    def made(precision):
        config = ModelConfig(width=0.0625)
        model = autoencoder(config, training_size=64, mixed_precision=precision)
        return frozen(model, np.random.default_rng(1))

    exact, rounded = (folded_pass(made(precision), x) for precision in ("none", "bfloat16"))
    assert rounded.dtype == tf.float32
    np.testing.assert_allclose(rounded, exact, atol=0.05)
    assert not np.array_equal(rounded, exact)
