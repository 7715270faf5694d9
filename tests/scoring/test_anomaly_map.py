"""Reconstruction of images of any size, and the anomaly map, against NumPy and SciPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.config import RunConfig, ScoringConfig, from_dict
from ssae_tf.detector import Detector
from ssae_tf.errors import ConfigError
from ssae_tf.models.answer import Answer, answer
from ssae_tf.scoring.anomaly_map import anomaly_map, inspect, respond

SIZES = [(16, 24), (17, 23), (31, 8), (5, 40), (1, 1)]


def reference(reconstruction, x, reading, sigma):
    error = reconstruction.astype(np.float64) - x
    if reading == "absolute":
        residual = np.abs(error).mean(axis=-1)
    else:
        residual = np.sqrt((error**2).mean(axis=-1))
    if sigma == 0:
        return residual
    return np.stack([ndimage.gaussian_filter(image, sigma) for image in residual])


def config_of(reading, sigma):
    return ScoringConfig(reading=reading, smoothing_sigma=sigma)


def plain(reconstruction):
    """The answer of a network that is not gated."""
    return Answer(tf.convert_to_tensor(reconstruction), None, None)


class TestRespond:
    @pytest.mark.parametrize("multiple", [8, 32])
    @pytest.mark.parametrize("size", SIZES)
    def test_pads_by_reflection_and_crops_back(self, rng, size, multiple):
        x = rng.random((2, *size, 3), np.float32)
        seen = []

        def model(images):
            seen.append(images.numpy())
            return 1.0 - images

        found = respond(model, tf.constant(x), multiple)
        np.testing.assert_array_equal(found.reconstruction, 1.0 - x)
        assert found.gate is None
        missing = [(0, 0), *((0, -side % multiple) for side in size), (0, 0)]
        np.testing.assert_array_equal(seen[0], np.pad(x, missing, mode="symmetric"))

    def test_in_graphs_of_unknown_sizes(self, rng):
        def model(images):
            sides = tf.shape(images)[1:3]
            tf.debugging.assert_equal(sides % 8, 0)
            return 1.0 - images

        graph = tf.function(
            lambda x: respond(model, x, 8).reconstruction,
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)],
        )
        for size in SIZES:
            x = rng.random((2, *size, 3), np.float32)
            np.testing.assert_array_equal(graph(x), 1.0 - x)

    @pytest.mark.parametrize("size", [(16, 24), (17, 23)])
    def test_known_sizes_stay_known(self, size):
        shapes = []

        def model(images):
            shapes.append(images.shape)
            return images

        spec = tf.TensorSpec((None, *size, 3), tf.float32)
        graph = tf.function(lambda x: respond(model, x, 8)[0]).get_concrete_function(spec)
        assert shapes[0] == tf.TensorShape((None, *(-(-side // 8) * 8 for side in size), 3))
        assert graph.output_shapes == tf.TensorShape((None, *size, 3))

    def test_a_gated_output_is_taken_apart(self, rng):
        x = rng.random((2, 10, 12, 3), np.float32)
        found = respond(lambda y: tf.concat([0.5 * y, y[..., :1], y], -1), tf.constant(x), 32)
        np.testing.assert_array_equal(found.reconstruction, 0.5 * x)
        np.testing.assert_array_equal(found.gate, x[..., :1])
        np.testing.assert_array_equal(found.repaint, x)


class TestAnomalyMap:
    @pytest.mark.parametrize("sigma", [0.0, 1.5, 4.0])
    @pytest.mark.parametrize("reading", ["absolute", "euclidean"])
    @pytest.mark.parametrize("size", [(17, 23), (5, 40)])
    def test_is_numpys_and_scipys(self, rng, size, reading, sigma):
        x, reconstruction = (rng.random((2, *size, 3), np.float32) for _ in range(2))
        config = ScoringConfig(reading=reading, smoothing_sigma=sigma)
        found = anomaly_map(plain(reconstruction), tf.constant(x), config)
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, reference(reconstruction, x, reading, sigma), atol=1e-5)

    def test_by_hand(self):
        # Errors of 0.3, 0 and −0.6: mean 0.3, root mean square √0.15.
        x = tf.constant([[[[0.1, 0.2, 0.9]]]])
        reconstruction = tf.constant([[[[0.4, 0.2, 0.3]]]])
        for reading, expected in (("absolute", 0.3), ("euclidean", 0.15**0.5)):
            config = ScoringConfig(reading=reading, smoothing_sigma=0.0)
            assert float(anomaly_map(plain(reconstruction), x, config)[0, 0, 0]) == pytest.approx(
                expected
            )

    @pytest.mark.parametrize("reading", ["absolute", "euclidean"])
    def test_of_a_perfect_reconstruction_is_zero(self, rng, reading):
        x = tf.constant(rng.random((1, 9, 9, 3), np.float32))
        assert (anomaly_map(plain(x), x, ScoringConfig(reading=reading)).numpy() == 0).all()

    @pytest.mark.parametrize("reading", ["absolute", "euclidean"])
    def test_of_a_gate_is_its_own_whatever_was_repainted(self, rng, reading):
        x, f, g = (tf.constant(rng.random((2, 17, 23, 3), np.float32)) for _ in "xfg")
        gate = rng.random((2, 17, 23, 1), np.float32)
        config = ScoringConfig(evidence="gate", reading=reading, smoothing_sigma=1.5)
        found = anomaly_map(Answer(f, tf.constant(gate), g), x, config)
        expected = np.stack([ndimage.gaussian_filter(one, 1.5) for one in gate[..., 0]])
        np.testing.assert_allclose(found, expected, atol=1e-6)
        # The residual of the same network is another.
        residual = anomaly_map(
            Answer(f, tf.constant(gate), g), x, dataclasses.replace(config, evidence="residual")
        )
        np.testing.assert_allclose(residual, anomaly_map(plain(f), x, config_of(reading, 1.5)))

    def test_images_do_not_affect_each_other(self, rng):
        x = tf.constant(rng.random((3, 12, 12, 3), np.float32))
        config = ScoringConfig()
        maps = anomaly_map(plain(1.0 - x), x, config)
        for n in range(3):
            alone = anomaly_map(plain(1.0 - x[n : n + 1]), x[n : n + 1], config)
            np.testing.assert_allclose(maps[n], alone[0], atol=1e-7)

    @pytest.mark.parametrize("jit", [False, True])
    @pytest.mark.parametrize("reading", ["absolute", "euclidean"])
    def test_in_graphs_of_unknown_sizes(self, rng, reading, jit):
        config = ScoringConfig(reading=reading)
        graph = tf.function(
            lambda reconstruction, x: anomaly_map(plain(reconstruction), x, config),
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)] * 2,
            jit_compile=jit,
        )
        x, reconstruction = (rng.random((2, 13, 18, 3), np.float32) for _ in range(2))
        expected = anomaly_map(plain(reconstruction), tf.constant(x), config)
        np.testing.assert_allclose(graph(reconstruction, x), expected, atol=1e-6)


def halved(images):
    """A network that answers with half of what it sees, and with a pattern of its own."""
    rows = tf.cast(tf.range(tf.shape(images)[1])[:, None, None] % 2, tf.float32)
    return 0.5 * images + 0.1 * rows


class Side(tf.keras.layers.Layer):
    """Answers with the height of what it sees, in thousands of pixels."""

    def call(self, x):
        return tf.zeros_like(x) + tf.cast(tf.shape(x)[1], tf.float32) / 1000.0


def test_a_detector_shows_the_image_alone(rng):
    """None of its ways to the network adds a reflection, whatever the image's own size."""
    stages = [{"size": side, "batch_size": 1, "steps": 1} for side in (32, 64)]
    values = {"training": {"stages": stages}, "scoring": {"smoothing_sigma": 1.0}}
    inputs = tf.keras.Input((None, None, 3))
    detector = Detector(tf.keras.Model(inputs, Side()(inputs)), from_dict(values))
    for size in ((64, 64), (90, 51)):
        image = rng.random((*size, 3), np.float32)
        np.testing.assert_allclose(
            detector.inspect(image)[0], np.full_like(image, 0.064), rtol=1e-5
        )
        found = detector.reconstruct(detector.as_inspected(image))
        np.testing.assert_allclose(found, 0.064, rtol=1e-5)


class TestInspect:
    @pytest.mark.parametrize("size", SIZES)
    def test_is_answer_and_map(self, rng, size):
        x = tf.constant(rng.random((2, *size, 3), np.float32))
        config = RunConfig(scoring=ScoringConfig(smoothing_sigma=1.5))
        reconstruction, map_ = inspect(halved, x, config)
        expected = respond(halved, x, 8)
        np.testing.assert_array_equal(reconstruction, expected.reconstruction)
        np.testing.assert_allclose(map_, anomaly_map(expected, x, config.scoring), atol=1e-6)

    def test_the_gate_is_evidence_however_faint_the_repair(self, rng):
        stage = {"size": 32, "batch_size": 1, "steps": 1}
        scoring = {"evidence": "gate", "smoothing_sigma": 0.0}
        values = {"model": {"answer": "gated"}, "training": {"stages": [stage]}}
        gate = rng.random((1, 32, 32, 1), np.float32)
        x = tf.constant(rng.random((1, 32, 32, 3), np.float32))
        found = inspect(
            lambda y: tf.concat([y, gate, y], -1), x, from_dict({**values, "scoring": scoring})
        )
        np.testing.assert_array_equal(found[0], x)
        np.testing.assert_array_equal(found[1], gate[..., 0])

    def test_in_graphs_of_unknown_sizes(self, rng):
        config = RunConfig(scoring=ScoringConfig(smoothing_sigma=1.0))
        graph = tf.function(
            lambda x: inspect(halved, x, config),
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)],
        )
        for size in SIZES:
            x = tf.constant(rng.random((2, *size, 3), np.float32))
            for found, expected in zip(graph(x), inspect(halved, x, config), strict=True):
                assert found.shape[:3] == (2, *size)
                np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_settings_that_wait_for_the_images(self):
        config = from_dict({"scoring": {"smoothing_sigma": None}})
        with pytest.raises(ConfigError, match=r"expected a number, as `resolve` gives it"):
            inspect(halved, tf.zeros((1, 8, 8, 3)), config)


def test_an_answer_is_taken_apart_by_its_channels(rng):
    output = tf.constant(rng.random((2, 4, 4, 7), np.float32))
    found = answer(output)
    for part, channels in zip(found, (slice(0, 3), slice(3, 4), slice(4, 7)), strict=True):
        np.testing.assert_array_equal(part, output[..., channels])
    assert answer(output[..., :3])[1:] == (None, None)
