"""One compiled step: what it computes, where images are corrupted, and XLA."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.corruption.corrupt import corrupt
from ssae_tf.models.autoencoder import DILATION_RATES, autoencoder
from ssae_tf.training.objective import gate_error, objective, region_errors
from ssae_tf.training.step import corrupt_in_pipeline, corruption_seed, loss_and_errors, make_step

IN_DATA = {"corruption.where": "data"}


def weights(model):
    return [np.array(tf.convert_to_tensor(variable)) for variable in model.weights]


@pytest.fixture
def x(rng):
    return tf.constant(rng.random((2, 16, 16, 3)), tf.float32)


@pytest.fixture
def begin(configure, small):
    """Makes a small network and its step; the real one with `build=autoencoder`."""

    def made(changes=None, build=small, size=16, epsilon=1e-7):
        config = configure(changes)
        training = config.training
        model = build(config.model, size, seed=training.seed, mean_colour=None)
        optimizer = tf.keras.optimizers.Adam(training.learning_rate, epsilon=epsilon)
        optimizer.build(model.trainable_variables)
        return config, model, make_step(model, optimizer, config)

    return made


class TestLossAndErrors:
    @pytest.mark.parametrize("equation", [1, 2, 3])
    @pytest.mark.parametrize("norm", ["l2", "l2_squared", "l1"])
    @pytest.mark.parametrize("weight", [None, 0.3])
    def test_all_settings_of_the_objective_arrive(self, configure, rng, equation, norm, weight):
        reconstruction, x, x_hat = (
            tf.constant(rng.random((2, 4, 4, 3)), tf.float32) for _ in "123"
        )
        mask = tf.constant(rng.integers(0, 2, (2, 4, 4, 3)), tf.float32)
        settings = configure(
            {"objective.equation": equation, "objective.norm": norm, "objective.weight": weight}
        ).objective
        loss, *errors = loss_and_errors(reconstruction, x, x_hat, mask, settings)
        expected = objective(
            reconstruction, x, x_hat, mask, equation=equation, weight=weight, norm=norm
        )
        assert loss.shape == ()
        np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-6)
        np.testing.assert_allclose(errors, region_errors(reconstruction, x, mask), rtol=1e-6)


class TestGated:
    def test_the_loss_is_that_of_f_of_g_and_of_the_gate(self, configure, rng):
        x, x_hat, f, g = (tf.constant(rng.random((2, 4, 4, 3)), tf.float32) for _ in "1234")
        gate = tf.constant(rng.uniform(0.1, 0.9, (2, 4, 4, 1)), tf.float32)
        mask = tf.repeat(tf.constant(rng.integers(0, 2, (2, 4, 4, 1)), tf.float32), 3, axis=-1)
        settings = configure().objective
        loss, *errors = loss_and_errors(tf.concat([f, gate, g], -1), x, x_hat, mask, settings)
        parts = (
            loss_and_errors(f, x, x_hat, mask, settings)[0],
            loss_and_errors(g, x, x_hat, mask, settings)[0],
            tf.reduce_mean(gate_error(gate, mask)),
        )
        np.testing.assert_allclose(loss, np.sum(parts), rtol=1e-5)
        np.testing.assert_allclose(errors, region_errors(f, x, mask), rtol=1e-5)

    def test_every_weight_learns(self, configure, rng):
        stages = [{"size": 32, "batch_size": 2, "steps": 1}]
        changes = {"model.answer": "gated", "model.context": 2, "training.stages": stages}
        config = configure({**changes, "training.learning_rate": 0.01})
        model = autoencoder(config.model, 32, seed=0)
        optimizer = tf.keras.optimizers.Adam(0.01)
        optimizer.build(model.trainable_variables)
        before = [np.array(tf.convert_to_tensor(v)) for v in model.trainable_variables]
        run = make_step(model, optimizer, config)
        for step in range(2):
            run(tf.constant(step), tf.constant(rng.random((2, 32, 32, 3)), tf.float32))
        for variable, old in zip(model.trainable_variables, before, strict=True):
            assert not np.array_equal(variable, old), variable.name


class TestSmallNetwork:
    def test_figures_are_those_before_the_update(self, begin, x):
        config, model, run = begin()
        _, other, _ = begin()
        x_hat, mask = corrupt_small(x, corruption_seed(config, tf.constant(5)))
        expected = loss_and_errors(other(x_hat, training=True), x, x_hat, mask, config.objective)
        np.testing.assert_allclose(run(tf.constant(5), x), expected, rtol=1e-5)
        assert not np.array_equal(model.weights[0], other.weights[0])

    def test_the_update_is_adams(self, begin, x):
        config, model, run = begin({"training.learning_rate": 0.01}, epsilon=1e-3)
        x_hat, mask = corrupt_small(x, corruption_seed(config, tf.constant(0)))
        before = [np.array(tf.convert_to_tensor(v)) for v in model.trainable_variables]
        with tf.GradientTape() as tape:
            reconstruction = model(x_hat, training=True)
            loss = loss_and_errors(reconstruction, x, x_hat, mask, config.objective)[0]
        gradients = tape.gradient(loss, model.trainable_variables)
        run(tf.constant(0), x)
        # The first step: m and √v are the gradient and its size, each without its share of 1 − β;
        # Keras scales epsilon by √(1 − β₂) against the paper's form.
        for variable, old, g in zip(model.trainable_variables, before, gradients, strict=True):
            step = 0.01 * g * np.sqrt(0.001) / (np.abs(g) * np.sqrt(0.001) + 1e-3)
            np.testing.assert_allclose(variable, old - step, rtol=1e-3, atol=1e-6)

    def test_the_seed_and_the_step_decide_the_corruption(self, begin, x):
        found = {}
        for seed in (0, 1):
            # The images alone differ: nothing is learnt, and the weights are the same.
            _, model, run = begin({"training.seed": seed, "training.learning_rate": 1e-30})
            model.set_weights([np.full(v.shape, 0.1, np.float32) for v in model.weights])
            found[seed] = [float(run(tf.constant(step), x)[2]) for step in (0, 1, 0)]
        assert found[0][0] == pytest.approx(found[0][2], rel=1e-6)
        values = [*found[0][:2], *found[1][:2]]
        assert len({round(value, 5) for value in values}) == 4

    @pytest.mark.parametrize("gated", [False, True])
    def test_batch_statistics_are_those_of_the_whole_batch(self, configure, small, rng, gated):
        config = configure({"training.learning_rate": 0.01}, gated=gated)
        x = tf.constant(rng.random((5, 32, 32, 3)), tf.float32)
        x_hat, mask = corrupt_small(x, corruption_seed(config, tf.constant(0)))
        model, reference = (small(config.model, 32, seed=0, mean_colour=None) for _ in "12")
        optimizer = tf.keras.optimizers.Adam(0.01, epsilon=1e-3)
        optimizer.build(model.trainable_variables)
        figures = make_step(model, optimizer, config)(tf.constant(0), x)

        with tf.GradientTape() as tape:
            output = reference(x_hat, training=True)
            loss, *_ = loss_and_errors(output, x, x_hat, mask, config.objective)
        errors = region_errors(output[..., :3], x, mask)
        np.testing.assert_allclose(figures, [loss, *errors], rtol=1e-5)
        optimizer = tf.keras.optimizers.Adam(0.01, epsilon=1e-3)
        optimizer.build(reference.trainable_variables)
        gradients = tape.gradient(loss, reference.trainable_variables)
        optimizer.apply_gradients(zip(gradients, reference.trainable_variables, strict=True))
        for found, expected in zip(weights(model), weights(reference), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)

    def test_traced_once(self, begin, x):
        _, model, run = begin()
        traces = []
        layer = model.get_layer("dilated")
        call = layer.call

        def counted(*args, **kwargs):
            traces.append(1)
            return call(*args, **kwargs)

        layer.call = counted
        batches = tf.data.Dataset.range(5).map(lambda step: (step, x))
        for step, images in batches:
            run(step, images)
        assert len(traces) == 1
        assert run.experimental_get_tracing_count() == 1

    def test_the_loss_falls(self, begin):
        x = tf.fill((2, 16, 16, 3), 0.2)
        _, _, run = begin({"training.learning_rate": 0.05})
        losses = [float(run(tf.constant(step), x)[0]) for step in range(50)]
        assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])

    def test_xla_agrees(self, begin, x):
        runs = [begin({"training.jit": jit}) for jit in (False, True)]
        figures = [run(tf.constant(0), x) for _, _, run in runs]
        np.testing.assert_allclose(figures[1], figures[0], rtol=1e-5)
        for before, after in zip(*(weights(model) for _, model, _ in runs), strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4)
        compiled = [run.experimental_get_compiler_ir for _, _, run in runs]
        assert "HloModule" in compiled[1](tf.constant(0), x)()
        with pytest.raises(ValueError, match="jit_compile"):
            compiled[0](tf.constant(0), x)

    def test_corrupted_in_the_pipeline(self, begin, x):
        _, model, run = begin()
        config, other, run_other = begin(IN_DATA)
        batches = tf.data.Dataset.range(3).map(lambda step: (step, x))
        figures = [run(*batch) for batch in batches]
        others = [run_other(*batch) for batch in corrupt_in_pipeline(batches, config)]
        np.testing.assert_allclose(others, figures, rtol=1e-5)
        for ours, theirs in zip(weights(model), weights(other), strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-6)


def corrupt_small(x, seed):
    """The stand-in that the fixture `small` put in place."""
    from ssae_tf.training import step

    return step.corrupt(x, seed, None)


class TestCorruptInPipeline:
    def test_same_images_as_in_the_step(self, configure, x):
        config = configure({"training.seed": 3, "corruption.brightness": 0.2})
        batches = tf.data.Dataset.range(4, 5).map(lambda step: (step, x))
        corrupted = corrupt_in_pipeline(batches, config)
        shapes = [tuple(spec.shape) for spec in corrupted.element_spec]
        assert shapes == [(), *3 * [(2, 16, 16, 3)]]
        for step, clean, x_hat, mask in corrupted:
            np.testing.assert_array_equal(clean, x)
            expected, expected_mask = corrupt(x, tf.constant([3, int(step)]), config.corruption)
            np.testing.assert_array_equal(mask, expected_mask)
            np.testing.assert_allclose(x_hat, expected, atol=1e-6)


class TestTable1:
    def test_dead_taps_stay_zero_until_a_larger_stage(self, begin, rng):
        _, model, run = begin({"training.learning_rate": 0.01}, autoencoder, size=64)

        def taps():
            names = [f"sdc{block}_rate{rate}" for block in (1, 4) for rate in DILATION_RATES]
            kernels = [np.asarray(model.get_layer(name).kernel) for name in names]
            return [int(np.any(kernel != 0, axis=(2, 3)).sum()) for kernel in kernels]

        for step in range(3):
            run(tf.constant(step), tf.constant(rng.random((1, 64, 64, 3)), tf.float32))
        assert taps() == 2 * [25, 25, 9, 1, 1]
        for step in range(3, 5):
            run(tf.constant(step), tf.constant(rng.random((1, 128, 128, 3)), tf.float32))
        assert taps() == 2 * [25, 25, 25, 9, 1]
