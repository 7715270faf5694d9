"""Batch statistics estimated anew, kept, and what training normalises with."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.blocks import BatchNormalization
from ssae_tf.training import normalization


@pytest.fixture
def network():
    """Two normalisations one behind the other."""
    inputs = tf.keras.Input((None, None, 2))
    x = BatchNormalization(name="first")(inputs)
    x = tf.keras.layers.ReLU()(x)
    return tf.keras.Model(inputs, BatchNormalization(name="second")(x))


@pytest.fixture
def batches(rng):
    return [tf.constant(rng.normal(k, 1 + k, (3, 4, 4, 2)), tf.float32) for k in range(3)]


def weights(model):
    return {
        f"{layer.name}/{v.name.split('/')[-1].split(':')[0]}": np.array(tf.convert_to_tensor(v))
        for layer in normalization.layers(model)
        for v in layer.weights
    }


def unbiased(x):
    return np.var(x, axis=(0, 1, 2), ddof=1)


def test_estimate_is_the_mean_of_the_batches_own_statistics(network, batches):
    normalization.make_estimate(network)(batches)
    found = weights(network)
    means = [batch.numpy().mean(axis=(0, 1, 2)) for batch in batches]
    np.testing.assert_allclose(found["first/moving_mean"], np.mean(means, axis=0), rtol=1e-5)
    variances = [unbiased(batch.numpy()) for batch in batches]
    np.testing.assert_allclose(found["first/moving_variance"], np.mean(variances, 0), rtol=1e-5)

    # What comes behind sees each batch normalised by itself, as in training.
    def behind(batch):
        x = batch.numpy()
        x = (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-3)
        return np.maximum(x, 0.0)

    means = [behind(batch).mean(axis=(0, 1, 2)) for batch in batches]
    np.testing.assert_allclose(found["second/moving_mean"], np.mean(means, axis=0), rtol=1e-4)
    variances = [unbiased(behind(batch)) for batch in batches]
    np.testing.assert_allclose(found["second/moving_variance"], np.mean(variances, 0), rtol=1e-4)


def test_estimate_changes_nothing_else(network, batches):
    network.get_layer("first").gamma.assign([2.0, 3.0])
    network.get_layer("second").mode = "estimate"
    before = weights(network)
    normalization.make_estimate(network)(batches)
    after = weights(network)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {f"{n}/moving_{s}" for n in ("first", "second") for s in ("mean", "variance")}
    assert [layer.mode for layer in normalization.layers(network)] == ["batch", "estimate"]


def test_estimate_forgets_what_was_before(network, batches):
    estimate = normalization.make_estimate(network)
    estimate(batches)
    first = weights(network)
    estimate([tf.zeros((1, 4, 4, 2))])
    estimate(iter(batches))
    second = weights(network)
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value)


def test_estimate_is_compiled_once(network, batches):
    traces = []
    network.get_layer("first").call = _counting(network.get_layer("first").call, traces)
    estimate = normalization.make_estimate(network)
    estimate(batches)
    estimate(batches)
    assert len(traces) == 1


def _counting(call, traces):
    def counted(*args, **kwargs):
        traces.append(1)
        return call(*args, **kwargs)

    return counted


def test_with_one_batch_inference_becomes_training(network, batches):
    normalization.make_estimate(network)(batches[:1])
    # But for the variance: unbiased in the moving statistics, biased in the batch's.
    found = network(batches[0], training=False)
    np.testing.assert_allclose(found, network(batches[0], training=True), rtol=0.03, atol=0.03)


def test_an_error_leaves_the_modes_as_they_were(network):
    estimate = normalization.make_estimate(network)
    with pytest.raises(Exception):  # noqa: B017, PT011 - Keras' own, another in each version
        estimate([tf.zeros((3, 4))])
    assert [layer.mode for layer in normalization.layers(network)] == ["batch", "batch"]


def test_statistics_kept(network, batches):
    before = weights(network)
    with normalization.statistics_kept(network):
        network(batches[1], training=True)
        assert not np.array_equal(weights(network)["first/moving_mean"], [0, 0])
    after = weights(network)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_statistics_are_kept_after_an_error(network, batches):
    def fail():
        with normalization.statistics_kept(network):
            network(batches[1], training=True)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    np.testing.assert_array_equal(weights(network)["first/moving_mean"], [0, 0])


@pytest.mark.parametrize(("answer", "count"), [("plain", 20), ("gated", 20 + 19)])
def test_layers_of_both_sub_networks(answer, count):
    model = autoencoder(ModelConfig(width=0.0625, answer=answer), training_size=32)
    assert len(normalization.layers(model)) == count
