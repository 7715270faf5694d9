"""What a checkpoint is chosen by: normal images alone, always the same."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from ssae_tf.models.answer import answer
from ssae_tf.scoring.anomaly_map import anomaly_map
from ssae_tf.training import normalization, selection
from ssae_tf.training.selection import Validator
from ssae_tf.training.step import loss_and_errors


@pytest.fixture
def batches(rng):
    return list(rng.random((3, 2, 16, 16, 3), dtype=np.float32))


@pytest.fixture
def model(small, configure, rng):
    """A network whose moving statistics are not those of any batch."""
    model = small(configure().model, 16, seed=0, mean_colour=None)
    norm = normalization.layers(model)[0]
    norm.moving_mean.assign(rng.normal(size=4))
    norm.moving_variance.assign(rng.random(4) + 0.5)
    return model


def statistics(model):
    norm = normalization.layers(model)[0]
    return [np.array(tf.convert_to_tensor(v)) for v in norm.weights]


def corrupted(batches, seed=0):
    """X, X̂ and M with the seeds of a validator."""
    for k, x in enumerate(batches):
        yield x, *selection.corrupt(tf.constant(x), tf.constant([-1 - k, seed]), None)


@pytest.fixture
def gated(small, configure, rng):
    """A gated network, likewise."""
    model = small(configure(gated=True).model, 32, seed=0, mean_colour=None)
    norm = normalization.layers(model)[0]
    norm.moving_mean.assign(rng.normal(size=4))
    norm.moving_variance.assign(rng.random(4) + 0.5)
    return model


@pytest.mark.parametrize("evidence", ["plain", "residual", "gate"])
def test_by_hand(request, configure, evidence, rng):
    if evidence == "plain":
        config = configure()
    else:
        config = configure({"scoring.evidence": evidence}, gated=True)
    model = request.getfixturevalue("model" if evidence == "plain" else "gated")
    side = config.training.stages[0].size
    batches = list(rng.random((3, 2, side, side, 3), dtype=np.float32))
    validator = Validator(model, batches, config)
    found = validator.validate()
    np.testing.assert_array_equal(validator.examples, next(corrupted(batches))[1])
    figures, in_training, maps, masks = [], [], [], []
    for x, x_hat, mask in corrupted(batches):
        args = (x, x_hat, mask, config.objective)
        figures.append(loss_and_errors(model(x_hat, training=False), *args))
        # The stand-in for corruptions that training never uses is the same.
        found_by = answer(model(x_hat, training=False))
        maps.append(anomaly_map(found_by, x_hat, config.scoring))
        masks.append(mask[..., 0])
        with normalization.statistics_kept(model):
            in_training.append(loss_and_errors(model(x_hat, training=True), *args)[1:])
    loss, outside, inside = np.mean(figures, axis=0)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert (found.outside, found.inside) == pytest.approx((outside, inside), rel=1e-5)
    assert found.outside_training != pytest.approx(outside, rel=1e-3)
    assert (found.outside_training, found.inside_training) == pytest.approx(
        tuple(np.mean(in_training, axis=0)), rel=1e-5
    )
    expected = roc_auc_score(np.ravel(masks), np.ravel(maps))
    assert found.held_out_auroc == pytest.approx(expected, abs=1e-6)
    assert found.held_out_auroc != 0.5


@pytest.mark.parametrize("equation", [1, 2, 3])
def test_criterion(model, batches, configure, equation):
    found = Validator(model, batches, configure({"objective.equation": equation})).validate()
    if equation == 1:
        assert found.criterion == found.loss
    else:
        assert found.criterion == 1.0 - found.held_out_auroc


def test_the_same_model_is_validated_the_same(model, batches, configure):
    validator = Validator(model, batches, configure())
    first = validator.validate()
    assert validator.validate() == first
    assert Validator(model, batches, configure()).validate() == first
    model.get_layer("reconstruction").bias.assign([1.0, 0.0, -1.0])
    assert validator.validate().loss != first.loss


def test_the_seed_decides_the_corruption(model, batches, configure):
    found = [
        Validator(model, batches, configure({"training.seed": seed})).validate() for seed in (0, 1)
    ]
    assert found[0] != found[1]


def test_the_model_stays_as_it_was(model, batches, configure):
    before = statistics(model)
    Validator(model, batches, configure()).validate()
    np.testing.assert_array_equal(statistics(model), before)


def test_compiled_once(model, batches, configure, monkeypatch):
    traces = []
    monkeypatch.setattr(
        selection, "region_errors", lambda *args: traces.append(1) or (tf.zeros(()), tf.zeros(()))
    )
    validator = Validator(model, batches, configure())
    validator.validate()
    validator.validate()
    assert len(traces) == 1


def test_a_model_that_has_diverged(model, batches, configure):
    model.get_layer("reconstruction").bias.assign(3 * [float("nan")])
    found = Validator(model, batches, configure()).validate()
    assert np.isnan(found.outside)
    assert np.isnan(found.inside_training)
    assert found.held_out_auroc == 0.5
