"""The gated answer: what it is made of, where it leaves images alone, what settings change."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.models.answer import answer
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.gated import Blend
from stand_ins import randomize

CONTEXTS = (1, 2, 4)


def gated(context=1, *, training_size=64, seed=0, **others):
    config = ModelConfig(width=0.0625, answer="gated", context=context)
    return autoencoder(config, training_size, seed=seed, **others)


@pytest.fixture(scope="module")
def networks():
    """One for each context, all of the same weights, whose answers have some spread."""
    made = {context: gated(context) for context in CONTEXTS}
    randomize(made[1])
    for context in CONTEXTS[1:]:
        copy_weights(made[1], made[context])
    return made


def copy_weights(source, target):
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


def kernels(model):
    return {
        layer.name: np.asarray(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")
    }


class TestBlend:
    def test_by_hand(self):
        x, repaint = tf.constant([[[[0.2, 0.4]]]]), tf.constant([[[[1.0, 0.0]]]])
        found = Blend()([x, tf.fill((1, 1, 1, 1), 0.25), repaint])
        # F(X), A and G(X).
        np.testing.assert_allclose(found[0, 0, 0], [0.4, 0.3, 0.25, 1.0, 0.0], rtol=1e-6)

    @pytest.mark.parametrize("jit", [False, True])
    def test_a_closed_gate_leaves_the_image_as_it_is(self, rng, jit):
        x, repaint = (rng.random((2, 5, 7, 3), np.float32) for _ in "xg")
        gate = rng.choice(np.float32([0.0, 0.3, 1.0]), (2, 5, 7, 1))
        spec = [tf.TensorSpec((None, None, None, channels)) for channels in (3, 1, 3)]
        blend = Blend()
        run = tf.function(lambda *parts: blend(list(parts)), input_signature=spec, jit_compile=jit)
        found = run(x, gate, repaint).numpy()
        closed, open_ = (np.broadcast_to(gate == level, x.shape) for level in (0.0, 1.0))
        np.testing.assert_array_equal(found[..., :3][closed], x[closed])
        np.testing.assert_allclose(found[..., :3][open_], repaint[open_], atol=1e-7)
        np.testing.assert_array_equal(found[..., 3:4], gate)
        np.testing.assert_array_equal(found[..., 4:], repaint)

    def test_shape(self):
        shapes = [(None, 8, None, channels) for channels in (3, 1, 3)]
        assert Blend().compute_output_shape(shapes) == (None, 8, None, 7)


class TestAnswer:
    @pytest.mark.parametrize("context", CONTEXTS)
    def test_is_put_together_from_its_parts(self, networks, rng, context):
        x = rng.random((2, 64, 96, 3), np.float32)
        found = answer(networks[context](x, training=False))
        reconstruction, gate, repaint = (part.numpy() for part in found)
        assert (reconstruction.shape, gate.shape, repaint.shape) == (
            x.shape,
            (2, 64, 96, 1),
            x.shape,
        )
        np.testing.assert_array_equal(reconstruction, x + gate * (repaint - x))
        np.testing.assert_allclose(reconstruction, (1.0 - gate) * x + gate * repaint, atol=2e-7)
        for part in (gate, repaint):
            assert 0.0 <= part.min() < part.max() <= 1.0
        # The image has a say in either.
        assert np.std(gate) > 1e-3
        assert np.std(repaint) > 1e-3

    def test_at_the_ends_of_the_gate(self, rng):
        model = gated()
        last = model.get_layer("gate")
        x = rng.random((1, 32, 64, 3), np.float32)

        def with_bias(bias):
            last.set_weights([np.zeros(last.kernel.shape), np.full(1, bias)])
            return answer(model(x, training=False))

        closed, opened = with_bias(-200.0), with_bias(200.0)
        assert not closed.gate.numpy().any()
        np.testing.assert_array_equal(closed.reconstruction, x)
        np.testing.assert_allclose(opened.reconstruction, opened.repaint, atol=1e-6)

    @pytest.mark.parametrize("context", CONTEXTS)
    def test_repaints_with_table_1_which_sees_a_smaller_image(self, networks, rng, context):
        """Averaged beforehand and enlarged afterwards, by NumPy and OpenCV."""
        model = networks[context]
        table_1 = autoencoder(ModelConfig(width=0.0625), training_size=64 // context)
        copy_weights(model, table_1)
        height, width = 64, 32
        x = rng.random((1, height, width, 3), np.float32)
        blocks = x.reshape(1, height // context, context, width // context, context, 3)
        small = table_1(blocks.mean(axis=(2, 4)), training=False).numpy()[0]
        expected = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        found = answer(model(x, training=False)).repaint[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_the_gate_sees_the_image_in_full_whatever_the_context(self, networks, rng):
        x = rng.random((1, 32, 64, 3), np.float32)
        one, *others = (answer(model(x, training=False)).gate for model in networks.values())
        for other in others:
            np.testing.assert_allclose(other, one, atol=1e-6)

    def test_a_standardized_gate_sees_no_exposure(self, rng):
        model = autoencoder(
            ModelConfig(width=0.0625, answer="gated", standardize=True), training_size=32
        )
        randomize(model)
        x = rng.uniform(0.2, 0.6, (1, 64, 64, 3)).astype(np.float32)
        here, brighter = (answer(model(x + by, training=False)) for by in (0.0, 0.25))
        np.testing.assert_allclose(brighter.gate, here.gate, atol=1e-4)
        # G paints what it sees.
        assert np.abs(brighter.repaint - here.repaint).max() > 1e-3

    def test_grouped_is_the_same_in_training_and_at_inspection(self, rng):
        model = autoencoder(
            ModelConfig(width=0.0625, answer="gated", normalization="group"), training_size=32
        )
        x = rng.random((2, 64, 64, 3), np.float32)
        training, inspection = (answer(model(x, training=mode)) for mode in (True, False))
        np.testing.assert_allclose(training.gate, inspection.gate, atol=1e-6)
        assert np.std(inspection.gate) > 1e-3
        # Table 1 keeps its batch normalisation.
        assert np.abs(training.repaint - inspection.repaint).max() > 1e-3

    @pytest.mark.parametrize(
        ("width", "groups"), [(0.0625, [1, 1, 1, 2, 2]), (0.25, [3, 4, 6, 9, 9]), (0.03, 5 * [1])]
    )
    def test_groups_have_at_least_eight_channels_where_there_are_as_many(self, width, groups):
        config = ModelConfig(width=width, answer="gated", normalization="group")
        model = autoencoder(config, training_size=32)
        names = [f"gate_encoder{level}_conv2_norm" for level in range(1, 6)]
        assert [model.get_layer(name).groups for name in names] == groups

    def test_of_grey_images(self, rng):
        x = rng.random((1, 32, 32, 1), np.float32)
        found = answer(gated(channels=1)(x, training=False), channels=1)
        assert [part.shape for part in found] == 3 * [(1, 32, 32, 1)]


class TestImages:
    @pytest.mark.parametrize("context", CONTEXTS)
    def test_any_multiple_of_32_known_or_not(self, networks, rng, context):
        model = networks[context]
        spec = tf.TensorSpec((None, None, None, 3))
        unknown = tf.function(lambda x: model(x, training=False), input_signature=[spec])
        assert model.output_shape == (None, None, None, 7)
        for shape in [(1, 32, 32, 3), (3, 96, 32, 3), (2, 64, 160, 3)]:
            x = tf.constant(rng.random(shape, np.float32))
            found = unknown(x)
            assert found.shape == (*shape[:3], 7)
            assert found.dtype == tf.float32
            np.testing.assert_allclose(found, model(x, training=False), atol=1e-5)

    def test_images_of_a_batch_are_apart_in_inference(self, networks, rng):
        x = rng.random((3, 32, 32, 3), np.float32)
        one_by_one = [networks[2](x[k : k + 1], training=False)[0] for k in range(3)]
        np.testing.assert_allclose(networks[2](x, training=False), one_by_one, atol=1e-5)


class TestSettings:
    def test_the_seed_decides_the_weights(self):
        one, same, other = (kernels(gated(2, seed=seed)) for seed in (0, 0, 1))
        assert {"gate", "gate_encoder5_conv2", "gate_decoder0_up", "reconstruction"} < one.keys()
        for name, kernel in one.items():
            np.testing.assert_array_equal(kernel, same[name], name)
            assert not np.allclose(kernel, other[name]), name

    def test_table_1_starts_as_by_itself(self):
        plain = kernels(autoencoder(ModelConfig(width=0.0625), training_size=32))
        found = kernels(gated(2))
        for name, kernel in plain.items():
            np.testing.assert_array_equal(found[name], kernel, name)

    def test_width_scales_the_filters_of_the_gate(self):
        model = autoencoder(ModelConfig(width=0.125, answer="gated"), training_size=32)
        filters = {
            layer.name: layer.filters for layer in model.layers if layer.name.startswith("gate")
            and hasattr(layer, "filters")
        }  # fmt: skip
        encoder = [filters[f"gate_encoder{level}_conv2"] for level in range(1, 6)]
        assert encoder == [12, 18, 24, 36, 36]
        decoder = [filters[f"gate_decoder{level}_up"] for level in range(4, -1, -1)]
        assert decoder == [36, 24, 18, 12, 6]
        assert filters["gate"] == 1

    def test_names_are_unique(self, networks):
        names = [layer.name for layer in networks[2].layers]
        assert len(set(names)) == len(names)

    def test_the_mean_colour_is_the_first_repaint(self, rng):
        model = gated(2, mean_colour=[0.1, 0.5, 0.9])
        x = rng.random((1, 64, 64, 3), np.float32)
        found = answer(model(x, training=True)).repaint.numpy().mean(axis=(0, 1, 2))
        np.testing.assert_allclose(found, [0.1, 0.5, 0.9], atol=0.1)
