"""Displacement fields and the warp, against SciPy and tensorflow-addons."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ssae_tf.corruption.elastic import displacement, warp
from ssae_tf.ops.random import uniform

SEED = (11, 12)
SIGNATURE = [
    tf.TensorSpec((None, None, None, 3), tf.float32),
    tf.TensorSpec((None, None, None, 2), tf.float32),
]


def warps():
    """The warp eagerly, in a graph of unknown sizes and compiled."""
    graph = tf.function(warp, input_signature=SIGNATURE)
    return {"eager": warp, "graph": graph, "jit": tf.function(warp, jit_compile=True)}


@pytest.fixture(params=["eager", "graph", "jit"])
def any_warp(request):
    return warps()[request.param]


def scipy_warp(x, field):
    grid = np.mgrid[: x.shape[1], : x.shape[2]]
    result = np.empty_like(x)
    for image, shifts, out in zip(x, field, result, strict=True):
        places = grid + np.moveaxis(shifts, -1, 0)
        for channel in range(x.shape[3]):
            out[..., channel] = ndimage.map_coordinates(
                image[..., channel], places, order=1, mode="nearest"
            )
    return result


class TestWarp:
    # Displacements of up to 20 pixels: many places lie outside.
    @pytest.mark.parametrize("size", [(13, 17), (16, 16), (1, 9), (6, 1)])
    def test_is_scipys(self, rng, size):
        x = rng.random((3, *size, 3), np.float32)
        field = rng.normal(0.0, 6.0, (3, *size, 2)).astype(np.float32)
        np.testing.assert_allclose(
            warp(tf.constant(x), tf.constant(field)), scipy_warp(x, field), atol=1e-5
        )

    def test_in_graphs_and_compiled(self, any_warp, rng):
        x = rng.random((2, 12, 9, 3), np.float32)
        field = rng.normal(0.0, 3.0, (2, 12, 9, 2)).astype(np.float32)
        found = any_warp(tf.constant(x), tf.constant(field))
        np.testing.assert_allclose(found, scipy_warp(x, field), atol=1e-5)

    def test_a_zero_field_changes_no_bit(self, any_warp, rng):
        x = rng.random((2, 12, 9, 3), np.float32)
        np.testing.assert_array_equal(any_warp(tf.constant(x), tf.zeros((2, 12, 9, 2))), x)

    def test_whole_shifts_are_exact(self, any_warp, rng):
        x = rng.random((2, 12, 9, 3), np.float32)
        field = np.empty((2, 12, 9, 2), np.float32)
        field[0], field[1] = (2, -3), (-20, 1)
        rows, columns = np.mgrid[:12, :9]
        expected = np.stack(
            [
                x[0, np.clip(rows + 2, 0, 11), np.clip(columns - 3, 0, 8)],
                x[1, np.clip(rows - 20, 0, 11), np.clip(columns + 1, 0, 8)],
            ]
        )
        np.testing.assert_array_equal(any_warp(tf.constant(x), tf.constant(field)), expected)

    def test_is_the_addons(self, rng):
        tfa = pytest.importorskip("tensorflow_addons", reason="only the card environment has it")
        x = tf.constant(rng.random((2, 15, 18, 3), np.float32))
        field = tf.constant(rng.normal(0.0, 6.0, (2, 15, 18, 2)).astype(np.float32))
        # The addons sample at p − flow(p).
        theirs = tfa.image.dense_image_warp(x, -field)
        np.testing.assert_allclose(warp(x, field), theirs, atol=1e-4)


class TestDisplacement:
    def test_is_smoothed_uniform_noise(self):
        sigma, alpha = np.float32([1.0, 2.5]), np.float32([30.0, 70.0])
        field = displacement((2, 14, 21), tf.constant(sigma), tf.constant(alpha), SEED)
        noise = uniform((2, 14, 21, 2), SEED, -1.0, 1.0).numpy()
        for n in range(2):
            width = (sigma[n], sigma[n], 0)
            expected = alpha[n] * ndimage.gaussian_filter(noise[n], width, mode="reflect")
            np.testing.assert_allclose(field[n], expected, atol=1e-4)

    def test_root_mean_square(self):
        sigma, alpha = np.float32([1.5, 3.0, 3.0]), np.float32([60.0, 60.0, 200.0])
        field = displacement((3, 160, 160), tf.constant(sigma), tf.constant(alpha), SEED)
        inner = field.numpy()[:, 16:-16, 16:-16]
        rms = np.sqrt(np.mean(inner**2, axis=(1, 2)))
        expected = alpha / (2.0 * sigma * math.sqrt(3.0 * math.pi))
        np.testing.assert_allclose(rms, np.stack([expected, expected], axis=1), rtol=0.12)

    def test_every_image_has_its_own_field_in_batches_of_unknown_size(self):
        def field_of(x):
            shape = tf.shape(x)
            count = shape[0]
            return displacement(
                (count, shape[1], shape[2]), tf.fill((count,), 0.6), tf.fill((count,), 50.0), SEED
            )

        data = tf.data.Dataset.from_tensor_slices(tf.zeros((5, 12, 16, 3))).batch(5)
        assert data.element_spec.shape[0] is None
        (field,) = data.map(field_of).as_numpy_iterator()
        np.testing.assert_allclose(field, field_of(tf.zeros((5, 12, 16, 3))), atol=1e-5)
        fields = field.reshape(5, -1)
        assert np.abs(np.corrcoef(fields) - np.eye(5)).max() < 0.3
        along_y, along_x = field[..., 0].ravel(), field[..., 1].ravel()
        assert abs(np.corrcoef(along_y, along_x)[0, 1]) < 0.2

    def test_the_graph_does_not_grow_with_the_batch(self):
        def operations(count):
            def distort(x):
                parameters = tf.ones((count,))
                return warp(x, displacement((count, 12, 16), parameters, parameters, SEED))

            spec = tf.TensorSpec((count, 12, 16, 3), tf.float32)
            graph = tf.function(distort).get_concrete_function(spec).graph
            return len(graph.get_operations())

        assert operations(2) == operations(16)

    def test_the_seed_decides(self):
        def draw(seed):
            ones = tf.ones((1,))
            return displacement((1, 12, 16), ones, ones, tf.constant(seed)).numpy()

        np.testing.assert_array_equal(draw([1, 2]), draw([1, 2]))
        assert np.abs(draw([1, 2]) - draw([1, 3])).max() > 0.01
