"""Dilated convolutions that skip dead taps, and the modes of batch normalisation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.models.blocks import (
    BatchNormalization,
    DilatedConv2D,
    GroupNormalization,
    Standardize,
    Upsample2D,
)

EPSILON = 1e-3


def dilated(x, kernel, rate):
    """The convolution tap by tap."""
    middle = kernel.shape[0] // 2
    margin = middle * rate
    padded = np.pad(x, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    height, width = x.shape[1:3]
    result = np.zeros((*x.shape[:3], kernel.shape[3]))
    for i, j in np.ndindex(kernel.shape[:2]):
        rows, columns = slice(i * rate, i * rate + height), slice(j * rate, j * rate + width)
        result += padded[:, rows, columns] @ kernel[i, j]
    return result


def live(kernel):
    """Where a kernel has taps, (side, side) bool."""
    return np.any(np.asarray(kernel) != 0, axis=(2, 3))


def square(taps, side=5):
    """The taps up to a distance from the middle."""
    offset = np.abs(np.arange(side) - side // 2) <= taps
    return offset[:, None] & offset[None, :]


def made(rate, *, training_map=64, channels=2, filters=3, fill=None):
    layer = DilatedConv2D(filters, 5, rate, training_map)
    layer.build((None, None, None, channels))
    if fill is not None:
        layer.kernel.assign(fill.normal(size=(5, 5, channels, filters)).astype(np.float32))
    return layer


class TestDilatedConv2D:
    @pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 12), (17, 9), (33, 20)])
    @pytest.mark.parametrize("rate", [1, 2, 4, 8, 16])
    def test_cropped_kernels_give_what_full_ones_give(self, rng, rate, size):
        layer = made(rate, fill=rng)
        x = rng.normal(size=(2, *size, 2)).astype(np.float32)
        weights = rng.normal(size=(2, *size, 3)).astype(np.float32)

        def run(x, training):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=training)
                total = tf.reduce_sum(weights * y)
            return y, *tape.gradient(total, [x, layer.kernel])

        unknown = [tf.TensorSpec((None, None, None, 2)), tf.TensorSpec((), tf.bool)]
        full = tf.function(lambda x, _: run(x, False), input_signature=unknown)
        expected = [part.numpy() for part in full(tf.constant(x), False)]
        np.testing.assert_allclose(
            expected[0], dilated(x, np.asarray(layer.kernel), rate), 1e-4, 1e-5
        )
        for training in (False, True):
            for part, wanted in zip(run(tf.constant(x), training), expected, strict=True):
                np.testing.assert_allclose(part, wanted, rtol=1e-4, atol=1e-4)

    def test_the_kernel_is_really_cropped(self):
        layer = made(16)

        def kernel_sides(height, width):
            spec = tf.TensorSpec((1, height, width, 2))
            graph = tf.function(lambda x: layer(x)).get_concrete_function(spec).graph
            ops = [op for op in graph.get_operations() if op.type == "Conv2D"]
            return tuple(ops[0].inputs[1].shape[:2])

        assert kernel_sides(16, 16) == (1, 1)
        assert kernel_sides(17, 33) == (3, 5)
        assert kernel_sides(None, None) == (5, 5)

    @pytest.mark.parametrize(
        ("side", "taps"),
        [
            (16, {1: 2, 2: 2, 4: 2, 8: 1, 16: 0}),
            (64, {1: 2, 2: 2, 4: 2, 8: 2, 16: 2}),
            (2, {1: 1, 2: 0, 4: 0, 8: 0, 16: 0}),
            (1, {1: 0, 16: 0}),
        ],
    )
    def test_taps_that_training_does_not_reach_start_at_zero(self, side, taps):
        for rate, expected in taps.items():
            kernel = made(rate, training_map=side).kernel
            np.testing.assert_array_equal(live(kernel), square(expected), f"rate {rate}")

    @pytest.mark.parametrize("rate", [1, 8, 16])
    def test_initial_values_count_live_taps_only(self, rate):
        kernel = np.asarray(made(rate, training_map=16, channels=64, filters=64).kernel)
        taps = int(live(kernel).sum())
        spread = float(np.std(kernel[live(kernel)]))
        assert spread == pytest.approx(np.sqrt(2.0 / (taps * 64)), rel=0.05)

    def test_dead_taps_stay_dead_and_larger_maps_wake_them(self, rng):
        rates = (1, 2, 4, 8, 16)
        layers = {rate: made(rate, training_map=16) for rate in rates}
        optimizer = tf.keras.optimizers.Adam(0.01)
        optimizer.build([layer.kernel for layer in layers.values()])

        def train(side):
            x = tf.constant(rng.normal(size=(2, side, side, 2)), tf.float32)
            for _ in range(4):
                with tf.GradientTape() as tape:
                    outputs = [layer(x) for layer in layers.values()]
                    loss = tf.reduce_mean(tf.square(tf.concat(outputs, -1) - 1.0))
                variables = [layer.kernel for layer in layers.values()]
                optimizer.apply_gradients(
                    zip(tape.gradient(loss, variables), variables, strict=True)
                )

        def taps(side):
            return {rate: square(min(2, (side - 1) // rate)) for rate in rates}

        for side in (16, 24, 40):
            train(side)
            for rate, expected in taps(side).items():
                np.testing.assert_array_equal(live(layers[rate].kernel), expected, f"rate {rate}")

    def test_shape(self):
        assert made(2).compute_output_shape((None, 8, None, 2)) == (None, 8, None, 3)


def norm(channels=1, mode="batch", **values):
    layer = BatchNormalization()
    layer.build((None, None, None, channels))
    layer.mode = mode
    for name, value in values.items():
        getattr(layer, name).assign(np.broadcast_to(np.float32(value), (channels,)))
    return layer


def statistics(layer):
    return [np.array(tf.convert_to_tensor(v)) for v in (layer.moving_mean, layer.moving_variance)]


FOUR = np.array([1.0, 2.0, 3.0, 4.0], np.float32).reshape(4, 1, 1, 1)
# Mean 2.5, sum of squared deviations 5: variance 5/4 biased, 5/3 unbiased.


class TestBatchNormalization:
    def test_batch_normalises_with_the_batch(self):
        layer = norm(gamma=2.0, beta=-1.0, moving_mean=10.0, moving_variance=9.0)
        expected = 2.0 * (FOUR - 2.5) / np.sqrt(1.25 + EPSILON) - 1.0
        np.testing.assert_allclose(layer(FOUR, training=True), expected, rtol=1e-5)

    def test_moving_statistics_follow_with_the_unbiased_variance(self):
        layer = norm(moving_mean=10.0, moving_variance=9.0)
        layer(FOUR, training=True)
        mean, variance = statistics(layer)
        assert mean[0] == pytest.approx(9.0 + 0.25, rel=1e-6)
        assert variance[0] == pytest.approx(8.1 + 0.5 / 3.0, rel=1e-6)

    def test_the_variance_is_unbiased_under_xla_too(self):
        layer = norm(moving_variance=0.0)
        tf.function(lambda x: layer(x, training=True), jit_compile=True)(tf.constant(FOUR))
        assert statistics(layer)[1][0] == pytest.approx(0.5 / 3.0, rel=1e-6)

    def test_inference_uses_the_moving_statistics(self):
        layer = norm(gamma=2.0, beta=-1.0, moving_mean=10.0, moving_variance=9.0)
        expected = 2.0 * (FOUR - 10.0) / np.sqrt(9.0 + EPSILON) - 1.0
        np.testing.assert_allclose(layer(FOUR, training=False), expected, rtol=1e-5)
        assert [s[0] for s in statistics(layer)] == [10.0, 9.0]

    def test_gradients_of_batch_run_through_its_statistics(self, rng):
        layer = norm(2, gamma=[2.0, 3.0], beta=0.5)
        x = rng.normal(size=(2, 3, 3, 2)).astype(np.float32)
        weights = rng.normal(size=x.shape).astype(np.float32)
        found = self.gradients(layer, x, weights)
        # d/dx Σ w·γ(x − μ)/σ = γ/σ (w − mean(w) − x̃·mean(w·x̃)).
        sigma = np.sqrt(x.var(axis=(0, 1, 2)) + EPSILON)
        unit = (x - x.mean(axis=(0, 1, 2))) / sigma
        mean, slope = weights.mean(axis=(0, 1, 2)), (weights * unit).mean(axis=(0, 1, 2))
        expected = np.array([2.0, 3.0]) / sigma * (weights - mean - unit * slope)
        np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found[1], (weights * unit).sum(axis=(0, 1, 2)), 1e-4, 1e-4)
        np.testing.assert_allclose(found[2], weights.sum(axis=(0, 1, 2)), 1e-4, 1e-4)

    @staticmethod
    def gradients(layer, x, weights):
        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(weights * layer(x, training=True))
        return [g.numpy() for g in tape.gradient(total, [x, layer.gamma, layer.beta])]

    def test_estimate_takes_the_batchs_own_statistics(self):
        layer = norm(mode="estimate", moving_mean=10.0, moving_variance=9.0)
        as_batch = norm()(FOUR, training=True)
        np.testing.assert_allclose(layer(FOUR, training=True), as_batch, rtol=1e-6)
        np.testing.assert_allclose([s[0] for s in statistics(layer)], [2.5, 5.0 / 3.0], rtol=1e-6)

    def test_a_traced_function_keeps_the_mode_it_was_traced_in(self):
        layer = norm(moving_mean=10.0, moving_variance=9.0)
        run = tf.function(lambda x: layer(x, training=True))
        before = run(tf.constant(FOUR))
        layer.mode = "estimate"
        np.testing.assert_allclose(run(tf.constant(FOUR)), before, rtol=1e-6)
        # By a tenth of the way each, and not all of it at once.
        assert statistics(layer)[0][0] == pytest.approx(0.81 * 10.0 + 0.19 * 2.5, rel=1e-6)

    def test_shape(self):
        assert norm().compute_output_shape((None, 8, None, 1)) == (None, 8, None, 1)


class TestGroupNormalization:
    @staticmethod
    def layer(channels, groups, **values):
        layer = GroupNormalization(groups)
        layer.build((None, None, None, channels))
        for name, value in values.items():
            getattr(layer, name).assign(np.broadcast_to(np.float32(value), (channels,)))
        return layer

    def test_by_hand(self):
        # Two pixels of four channels: the first two hold 1, 2, 3, 4 and the others 0, 0, 0, 8.
        x = np.float32([[[[1, 3, 0, 0], [2, 4, 0, 8]]]])
        found = self.layer(4, 2, gamma=[1, 2, 1, 1], beta=[0, 0, 0, 5])(x)
        first = (x[..., :2] - 2.5) / np.sqrt(1.25 + EPSILON) * [1, 2]
        second = (x[..., 2:] - 2.0) / np.sqrt(12.0 + EPSILON) + [0, 5]
        np.testing.assert_allclose(found, np.concatenate([first, second], axis=-1), rtol=1e-5)

    @pytest.mark.parametrize("groups", [1, 2, 3, 6])
    def test_matches_keras(self, rng, groups):
        x = rng.normal(3.0, 2.0, (3, 5, 7, 6)).astype(np.float32)
        reference = tf.keras.layers.GroupNormalization(groups, epsilon=EPSILON)
        reference.build(x.shape)
        values = [rng.normal(size=6).astype(np.float32) for _ in range(2)]
        reference.set_weights(values)
        layer = self.layer(6, groups, gamma=values[0], beta=values[1])
        np.testing.assert_allclose(layer(x), reference(x), rtol=1e-4, atol=1e-5)

    def test_each_image_by_itself_whatever_its_size(self, rng):
        layer = self.layer(4, 2)
        run = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 4))])
        x = rng.normal(size=(3, 6, 5, 4)).astype(np.float32)
        alone = [layer(x[k : k + 1])[0] for k in range(3)]
        np.testing.assert_allclose(run(x), alone, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(run(x[:, :3]), layer(x[:, :3]), rtol=1e-5, atol=1e-6)

    def test_an_even_image_becomes_the_offset(self):
        found = self.layer(2, 1, beta=0.5)(np.full((1, 4, 4, 2), 0.7, np.float32))
        np.testing.assert_allclose(found, np.full((1, 4, 4, 2), 0.5), atol=1e-5)

    def test_of_large_values(self, rng):
        """The deviation is not lost in the mean."""
        x = 1000.0 + rng.normal(size=(1, 8, 8, 2)).astype(np.float32)
        found = self.layer(2, 2)(x).numpy()
        np.testing.assert_allclose(found.std(axis=(1, 2)), 1.0, atol=0.02)


class TestStandardize:
    def test_by_hand(self):
        # Two pixels of two channels: means 0.3 and 0.6, deviations 0.1 and 0.2.
        x = tf.constant([[[[0.2, 0.8], [0.4, 0.4]]]])
        scale = np.sqrt((0.1**2 + 0.2**2) / 2) + 0.02
        expected = np.array([[[[-0.1, 0.2], [0.1, -0.2]]]]) / scale
        np.testing.assert_allclose(Standardize()(x), expected, rtol=1e-5)

    def test_is_near_tensorflows_on_images_of_contrast(self, rng):
        x = rng.random((2, 24, 32, 3), np.float32)
        expected = tf.image.per_image_standardization(x)
        assert np.corrcoef(np.ravel(Standardize()(x)), np.ravel(expected))[0, 1] > 0.99

    def test_exposure_makes_no_difference_and_gain_little(self, rng):
        x = rng.random((1, 16, 16, 3), np.float32)
        here = Standardize()(x).numpy()
        np.testing.assert_allclose(Standardize()(x + 0.3), here, atol=1e-5)
        np.testing.assert_allclose(Standardize()(0.5 * x), here, rtol=0.1)

    def test_a_flat_image_stays_flat(self):
        assert np.abs(Standardize()(tf.fill((1, 8, 8, 3), 0.7))).max() < 1e-4
        faint = np.float32(0.5) + np.float32(0.001) * np.eye(8, dtype=np.float32)[None, ..., None]
        assert np.abs(Standardize()(faint)).max() < 0.1

    def test_shape(self):
        assert Standardize().compute_output_shape((None, 8, None, 3)) == (None, 8, None, 3)


class TestUpsample2D:
    @pytest.mark.parametrize("factor", [1, 2, 4])
    def test_is_opencvs_bilinear(self, rng, factor):
        x = rng.random((2, 5, 7, 3), dtype=np.float32)
        size = (7 * factor, 5 * factor)
        expected = [cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in x]
        np.testing.assert_allclose(Upsample2D(factor)(x), expected, atol=1e-6)

    def test_in_graphs_of_unknown_sizes(self, rng):
        layer = Upsample2D(2)
        specification = [tf.TensorSpec((None, None, None, 3), tf.float32)]
        graph = tf.function(lambda x: layer(x), input_signature=specification)
        for size in ((1, 1), (4, 6)):
            x = rng.random((2, *size, 3), dtype=np.float32)
            np.testing.assert_allclose(graph(x), layer(x), atol=1e-6)

    def test_its_settings_make_it_again(self):
        layer = Upsample2D.from_config(Upsample2D(3, name="up").get_config())
        assert (layer.factor, layer.name) == (3, "up")
        assert layer.compute_output_shape((None, 4, None, 2)) == (None, 12, None, 2)
