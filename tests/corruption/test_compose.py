"""X̂ of what was changed: where little is, the brightness is."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from scipy import ndimage

from ssae_tf.corruption.compose import FALLBACK_BRIGHTNESS, compose


def texture(rng, shape):
    """Images of smooth noise over all of [0, 1]."""
    x = ndimage.gaussian_filter(rng.random(shape), (0, 1, 1, 0))
    return ((x - x.min()) / (x.max() - x.min())).astype(np.float32)


class TestCompose:
    def test_where_little_changes_the_brightness_does(self):
        x = tf.constant(np.float32([0.0, 0.3, 0.7, 1.0])[:, None, None, None]) * tf.ones(
            (4, 5, 5, 3)
        )
        region = tf.constant(np.arange(25).reshape(1, 5, 5) < 10) & tf.ones((4, 1, 1), tf.bool)
        x_hat, mask = compose(x, x + 0.001, region)
        change = (x_hat - x).numpy()[mask.numpy() > 0].reshape(4, -1)
        step = FALLBACK_BRIGHTNESS * np.float32([1, 1, -1, -1])
        np.testing.assert_allclose(change, np.repeat(step[:, None], change.shape[1], 1), atol=1e-6)

    def test_where_enough_changes_it_is_kept_and_clipped(self, rng):
        x = tf.constant(rng.random((2, 5, 5, 3), np.float32))
        region = tf.ones((2, 5, 5), tf.bool)
        np.testing.assert_array_equal(compose(x, x + 0.5, region)[0], np.clip(x + 0.5, 0, 1))
        np.testing.assert_array_equal(compose(x, x - 0.5, region)[0], np.clip(x - 0.5, 0, 1))
