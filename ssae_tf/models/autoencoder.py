"""The network of Table 1 (section 3.3) as a Keras functional model."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ssae_tf.config import DOWNSAMPLING, ModelConfig
from ssae_tf.models.blocks import BatchNormalization, DilatedConv2D

DILATION_RATES = (1, 2, 4, 8, 16)


def autoencoder(
    config: ModelConfig,
    training_size: int,
    *,
    channels: int = 3,
    seed: int = 0,
    mixed_precision: str = "none",
    mean_colour: Sequence[float] | np.ndarray | None = None,
) -> tf.keras.Model:
    """Builds F, the fully convolutional autoencoder of Table 1.

    Args:
        config: `width` scales all filter counts but the last, rounded, at least 1.
        training_size: side of the smallest training pictures, pixels: taps of dilated kernels that
            these do not train start at zero.
        channels: of the pictures.
        seed: of the initial weights.
        mixed_precision: "none", or "bfloat16" for what lies between input and output.
        mean_colour: (channels,) in [0, 1], which the untrained network answers everywhere; None
            for mid-grey. From mid-grey, the last layer would need hundreds of steps of a small
            learning rate to get there (docs/training.md).

    Returns:
        A model from (B, H, W, channels) float32 in [0, 1] to the same; H and W are any multiples
        of 8. The layers stand in the table's order.
    """
    dtype = "float32" if mixed_precision == "none" else f"mixed_{mixed_precision}"

    def filters(count: int) -> int:
        return max(1, round(count * config.width))

    def seed_of(name: str) -> int:
        # One for each layer, whatever the others are.
        return zlib.crc32(f"{seed} {name}".encode()) & 0x7FFFFFFF

    def activated(x: tf.Tensor, name: str) -> tf.Tensor:
        x = BatchNormalization(config.momentum, name=f"{name}_norm")(x)
        return tf.keras.layers.ReLU(dtype=dtype, name=f"{name}_relu")(x)

    def conv(x: tf.Tensor, count: int, name: str) -> tf.Tensor:
        layer = tf.keras.layers.Conv2D(
            filters(count),
            3,
            padding="same",
            # Batch normalisation would take a bias away again.
            use_bias=False,
            kernel_initializer=tf.keras.initializers.HeNormal(seed_of(name)),
            dtype=dtype,
            name=name,
        )
        return activated(layer(x), name)

    def transposed(x: tf.Tensor, count: int, name: str) -> tf.Tensor:
        layer = tf.keras.layers.Conv2DTranspose(
            filters(count),
            3,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=tf.keras.initializers.HeNormal(seed_of(name)),
            dtype=dtype,
            name=name,
        )
        return activated(layer(x), name)

    def stacked_dilated(x: tf.Tensor, name: str) -> tf.Tensor:
        branches = [
            DilatedConv2D(
                filters(64),
                5,
                rate,
                training_map=max(1, training_size // DOWNSAMPLING),
                reach=config.reach,
                seed=seed_of(f"{name}_rate{rate}"),
                dtype=dtype,
                name=f"{name}_rate{rate}",
            )(x)
            for rate in DILATION_RATES
        ]
        joined = tf.keras.layers.Concatenate(dtype=dtype, name=f"{name}_concat")(branches)
        return activated(joined, name)

    inputs = tf.keras.Input((None, None, channels), name="picture")
    x = inputs
    for level, count in enumerate((32, 64, 128), start=1):
        x = conv(x, count, f"encoder{level}_conv1")
        x = conv(x, count, f"encoder{level}_conv2")
        x = tf.keras.layers.MaxPooling2D(2, dtype=dtype, name=f"encoder{level}_pool")(x)
    for index in range(1, 5):
        x = stacked_dilated(x, f"sdc{index}")
    x = conv(x, 256, "bridge_conv")
    for level, count in ((3, 256), (2, 128), (1, 64)):
        x = transposed(x, count, f"decoder{level}_up")
        x = conv(x, count, f"decoder{level}_conv1")
        x = conv(x, count // 2, f"decoder{level}_conv2")
    if config.residual:
        # No pixel can change by more than 1, which also bounds what objectives (2) and (3) reward.
        # From zero, so that F begins as the identity.
        repair = tf.keras.layers.Conv2D(
            channels,
            1,
            activation="tanh",
            kernel_initializer="zeros",
            dtype="float32",
            name="reconstruction",
        )(x)
        outputs = tf.keras.layers.Add(dtype="float32", name="repaired")([inputs, repair])
        return tf.keras.Model(inputs, outputs, name="ssae")
    # float32 whatever the rest computes in: the residual is what counts.
    outputs = tf.keras.layers.Conv2D(
        channels,
        1,
        activation="sigmoid",
        kernel_initializer=tf.keras.initializers.RandomNormal(
            stddev=0.1 / float(np.sqrt(filters(32))), seed=seed_of("reconstruction")
        ),
        bias_initializer=tf.keras.initializers.Constant(_logit(mean_colour, channels)),
        dtype="float32",
        name="reconstruction",
    )(x)
    return tf.keras.Model(inputs, outputs, name="ssae")


def skip_dead_taps(model: tf.keras.Model) -> None:
    """Has a network that is trained no further leave out taps of dilated kernels that are zero."""
    for layer in model.layers:
        if isinstance(layer, DilatedConv2D):
            layer.skip_dead_taps()


def _logit(colour: Sequence[float] | np.ndarray | None, channels: int) -> np.ndarray:
    """What the sigmoid turns into the colour; pure black and white would be infinite."""
    level = np.full(channels, 0.5) if colour is None else np.asarray(colour, np.float64)
    level = np.clip(level, 0.01, 0.99)
    return np.log(level / (1.0 - level)).astype(np.float32)
