"""The network of Table 1 (section 3.3) as a Keras functional model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ssae_tf.config import DOWNSAMPLING, ModelConfig
from ssae_tf.models.blocks import Builder, DilatedConv2D, Upsample2D
from ssae_tf.models.gated import gated
from ssae_tf.models.keras_defaults import keras_defaults

DILATION_RATES = (1, 2, 4, 8, 16)


@keras_defaults()
def autoencoder(
    config: ModelConfig,
    training_size: int,
    *,
    channels: int = 3,
    seed: int = 0,
    mean_colour: Sequence[float] | np.ndarray | None = None,
) -> tf.keras.Model:
    """Builds F: the fully convolutional autoencoder of Table 1, by itself or gated.

    Args:
        config: `width` scales all filter counts but the last, rounded, at least 1; `answer` and
            `context` say how F(X) is put together.
        training_size: side of the smallest training images, pixels: taps of dilated kernels that
            these do not train start at zero.
        mean_colour: (channels,) in [0, 1], which the untrained network answers everywhere; None
            for mid-grey. From mid-grey, the last layer would need hundreds of steps of a small
            learning rate to get there.

    Returns:
        A model from (B, H, W, channels) float32 in [0, 1], H and W any multiples of
        `config.downsampling`, to the same, or if it is gated to what `ssae_tf.answer.answer` takes
        apart. The layers of Table 1 stand in the table's order.
    """
    build = Builder(config, seed)
    inputs = tf.keras.Input((None, None, channels), name="picture")
    x = inputs
    if config.context > 1:
        x = tf.keras.layers.AveragePooling2D(config.context, name="context")(x)
    map_side = max(1, training_size // config.context // DOWNSAMPLING)
    outputs = _table_1(x, build, map_side, _logit(mean_colour, channels))
    if config.answer == "gated":
        if config.context > 1:
            outputs = Upsample2D(config.context, name="full_size")(outputs)
        outputs = gated(inputs, outputs, build)
    return tf.keras.Model(inputs, outputs, name="ssae")


def _table_1(x: tf.Tensor, build: Builder, map_side: int, bias: np.ndarray) -> tf.Tensor:
    """Table 1 up to its sigmoid: an image of the input's size."""

    def stacked_dilated(x: tf.Tensor, name: str) -> tf.Tensor:
        branches = [
            DilatedConv2D(
                build.filters(64),
                5,
                rate,
                training_map=map_side,
                seed=build.seed_of(f"{name}_rate{rate}"),
                name=f"{name}_rate{rate}",
            )(x)
            for rate in DILATION_RATES
        ]
        joined = tf.keras.layers.Concatenate(name=f"{name}_concat")(branches)
        return build.activated(joined, name)

    channels = len(bias)
    for level, count in enumerate((32, 64, 128), start=1):
        x = build.conv(x, build.filters(count), f"encoder{level}_conv1")
        x = build.conv(x, build.filters(count), f"encoder{level}_conv2")
        x = build.pool(x, f"encoder{level}_pool")
    for index in range(1, 5):
        x = stacked_dilated(x, f"sdc{index}")
    x = build.conv(x, build.filters(256), "bridge_conv")
    for level, count in ((3, 256), (2, 128), (1, 64)):
        x = build.transposed(x, build.filters(count), f"decoder{level}_up")
        x = build.conv(x, build.filters(count), f"decoder{level}_conv1")
        x = build.conv(x, build.filters(count // 2), f"decoder{level}_conv2")
    return tf.keras.layers.Conv2D(
        channels,
        1,
        activation="sigmoid",
        kernel_initializer=tf.keras.initializers.RandomNormal(
            stddev=0.1 / float(np.sqrt(build.filters(32))), seed=build.seed_of("reconstruction")
        ),
        bias_initializer=tf.keras.initializers.Constant(bias),
        name="reconstruction",
    )(x)


def _logit(colour: Sequence[float] | np.ndarray | None, channels: int) -> np.ndarray:
    """What the sigmoid turns into the colour; pure black and white would be infinite."""
    level = np.full(channels, 0.5) if colour is None else np.asarray(colour, np.float64)
    level = np.clip(level, 0.01, 0.99)
    return np.log(level / (1.0 - level)).astype(np.float32)
