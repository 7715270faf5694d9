"""What networks are built from: the layers that Keras has not, and the blocks of Table 1 (3.3).

Dilated convolutions that skip dead taps, and a batch normalisation whose inference can be made to
agree with its training.
"""

from __future__ import annotations

import zlib
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.ops.resampling import upsample

# Of batch normalisation, added to the variance.
EPSILON = 1e-3
# Share of the moving statistics that each step keeps.
_MOMENTUM = 0.9
# Of group normalisation, at least.
_CHANNELS_PER_GROUP = 8
# Added to the deviation that images are divided by, grey levels of [0, 1].
_FLAT = 0.02

# Layers by this decorator are known to `tf.keras.models.load_model`, once their module is imported.
registered = tf.keras.utils.register_keras_serializable("ssae_tf")


@registered
class DilatedConv2D(tf.keras.layers.Layer):
    """A dilated convolution, stride 1, zero padding to the same size, that skips dead taps.

    On a map of height m a tap at distance k·rate ≥ m reads nothing but padding. Such taps add
    nothing and get no gradient, so they keep the values they were given. They start at zero here:
    random ones would fire as noise on maps large enough to reach them, at inspection. When height
    and width are known the kernel is cropped to its live taps, with the same result: TensorFlow's
    CPU backward pass of a 5 × 5 kernel of rate 16 on a 16 × 16 map, where one tap lives, takes six
    times as long as that of a 1 × 1 kernel.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        rate: int,
        training_map: int,
        seed: int = 0,
        **keras_arguments: Any,
    ) -> None:
        """Keeps the settings; weights are made on the first call.

        Args:
            training_map: height and width of the smallest map in training; taps that it does not
                train start at zero.
        """
        super().__init__(**keras_arguments)
        self.filters = filters
        self.kernel_size = kernel_size
        self.rate = rate
        self.training_map = training_map
        self.seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the kernel, (kernel_size, kernel_size, C, filters)."""
        channels = int(input_shape[-1] or 0)
        side, middle = self.kernel_size, self.kernel_size // 2
        taps = self._reaching_taps(self.training_map)
        alive = np.zeros((side, side, 1, 1), np.float32)
        alive[middle - taps : middle + taps + 1, middle - taps : middle + taps + 1] = 1.0
        # He's initialisation, counting the taps that read something.
        deviation = float(np.sqrt(2.0 / ((2 * taps + 1) ** 2 * channels)))
        draw = tf.keras.initializers.RandomNormal(stddev=deviation, seed=self.seed)

        def initial(shape: Any, dtype: Any = None) -> tf.Tensor:
            return tf.cast(tf.convert_to_tensor(draw(shape)) * alive, dtype or tf.float32)

        self.kernel = self.add_weight(
            name="kernel", shape=(side, side, channels, self.filters), initializer=initial
        )
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) -> (B, H, W, filters)."""
        rows, columns = (self._reaching_taps(size) for size in x.shape[1:3])
        middle = self.kernel_size // 2
        kernel = tf.convert_to_tensor(self.kernel)
        kernel = kernel[middle - rows : middle + rows + 1, middle - columns : middle + columns + 1]
        # Pixels are moved into the batch and back for every rate but 1, single taps or not.
        rate = self.rate if rows or columns else 1
        # Not tf.nn.conv2d: its gradient knows no dilation on the CPU.
        return tf.nn.convolution(x, kernel, padding="SAME", dilations=rate)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        names = ("filters", "kernel_size", "rate", "training_map", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _reaching_taps(self, size: int | None) -> int:
        """Taps on either side of the middle that do not read padding alone."""
        most = self.kernel_size // 2
        return most if size is None else min(most, (size - 1) // self.rate)


def outermost_tap(kernel: np.ndarray) -> int:
    """How far from the middle the outermost tap lies that is not zero, in taps.

    Args:
        kernel: (side, side, inputs, outputs), side odd.
    """
    rows, columns = np.nonzero(np.any(kernel != 0, axis=(2, 3)))
    middle = kernel.shape[0] // 2
    return int(np.abs([*(rows - middle), *(columns - middle), 0]).max())


@registered
class BatchNormalization(tf.keras.layers.Layer):
    """Batch normalisation with a choice of what training normalises with.

    Keras' layer moves its variance towards the biased one in version 2 and the unbiased one in
    version 3; this one takes the unbiased one under both.

    Attributes:
        mode: read when a function that calls the layer is traced.
            "batch": training uses the batch's statistics, and the moving ones follow.
            "estimate": as "batch", but the moving ones become the batch's own.
    """

    mode: Literal["batch", "estimate"] = "batch"

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes scale γ, offset β, and the moving mean and variance, (C,) each."""
        shape = (int(input_shape[-1] or 0),)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")
        self.moving_mean = self.add_weight(
            name="moving_mean", shape=shape, initializer="zeros", trainable=False
        )
        self.moving_variance = self.add_weight(
            name="moving_variance", shape=shape, initializer="ones", trainable=False
        )
        self.built = True

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(B, H, W, C) -> the same."""
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        mean = tf.convert_to_tensor(self.moving_mean)
        variance = tf.convert_to_tensor(self.moving_variance)
        if not training:
            scale = gamma * tf.math.rsqrt(variance + EPSILON)
            return x * scale + (beta - mean * scale)
        y, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=EPSILON, is_training=True
        )
        keep = 0.0 if self.mode == "estimate" else _MOMENTUM
        self.moving_mean.assign(keep * mean + (1.0 - keep) * batch_mean)
        self.moving_variance.assign(keep * variance + (1.0 - keep) * batch_variance)
        return y

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


@registered
class GroupNormalization(tf.keras.layers.Layer):
    """Group normalisation (Wu & He, 2018): each image by itself, channels in equal groups.

    The same in training and at inspection, where batch statistics of a few training images differ.
    Keras' layer takes half as long again at inspection: it moves the groups to an axis of their
    own, where here the means of the channels are averaged.
    """

    def __init__(self, groups: int, **keras_arguments: Any) -> None:
        super().__init__(**keras_arguments)
        self.groups = groups

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes scale γ and offset β, (C,) each."""
        shape = (int(input_shape[-1] or 0),)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) -> the same."""
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        deviation = x - self._mean(x)
        scale = gamma * tf.math.rsqrt(self._mean(tf.square(deviation)) + EPSILON)
        return deviation * scale + beta

    def _mean(self, x: tf.Tensor) -> tf.Tensor:
        """Of each image's groups, repeated for each channel: (B, 1, 1, C)."""
        channels = x.shape[-1]
        size = channels // self.groups
        means = tf.reshape(tf.reduce_mean(x, axis=(1, 2)), (-1, self.groups, size))
        means = tf.repeat(tf.reduce_mean(means, axis=2), size, axis=1)
        return tf.reshape(means, (-1, 1, 1, channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups}


@registered
class Upsample2D(tf.keras.layers.Layer):
    """Bilinear enlargement by a whole number, pixel centres in place.

    Keras' `UpSampling2D` can't be traced for images of unknown size under version 3.
    """

    def __init__(self, factor: int, **keras_arguments: Any) -> None:
        super().__init__(**keras_arguments)
        self.factor = factor

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) -> (B, factor · H, factor · W, C)."""
        return upsample(x, self.factor)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        height, width = (side and side * self.factor for side in input_shape[1:3])
        return (input_shape[0], height, width, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


@registered
class Standardize(tf.keras.layers.Layer):
    """Each image with mean 0 in every channel and, nearly, standard deviation 1.

    `tf.image.per_image_standardization` with one mean a channel. The deviation is that of all
    channels together, so that colours keep their proportions, and `_FLAT` is added to it: an even
    surface's noise is not blown up to full contrast.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) -> the same."""
        deviation = x - tf.reduce_mean(x, axis=(1, 2), keepdims=True)
        variance = tf.reduce_mean(tf.square(deviation), axis=(1, 2, 3), keepdims=True)
        return deviation / (tf.sqrt(variance) + _FLAT)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


class Builder:
    """Convolutions as Table 1 has them: without bias, normalised, rectified.

    Attributes:
        config: the width.
    """

    def __init__(self, config: ModelConfig, seed: int, *, by_group: bool = False) -> None:
        self.config = config
        self._seed = seed
        self._by_group = by_group

    def grouped(self) -> Builder:
        """The same with group normalisation."""
        return Builder(self.config, self._seed, by_group=True)

    def filters(self, count: int) -> int:
        """Table 1's filter count, scaled by `width`."""
        return max(1, round(count * self.config.width))

    def seed_of(self, name: str) -> int:
        """One for each layer, whatever the others are."""
        return zlib.crc32(f"{self._seed} {name}".encode()) & 0x7FFFFFFF

    def activated(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """Normalisation and ReLU."""
        norm = (
            GroupNormalization(_groups(x.shape[-1]), name=f"{name}_norm")
            if self._by_group
            else BatchNormalization(name=f"{name}_norm")
        )
        x = norm(x)
        return tf.keras.layers.ReLU(name=f"{name}_relu")(x)

    def conv(
        self, x: tf.Tensor, filters: int, name: str, kernel_size: int = 3, strides: int = 1
    ) -> tf.Tensor:
        """A convolution with zero padding, normalised and rectified."""
        return self._applied(
            tf.keras.layers.Conv2D, x, filters, name, kernel_size=kernel_size, strides=strides
        )

    def transposed(self, x: tf.Tensor, filters: int, name: str) -> tf.Tensor:
        """A transposed 3 × 3 convolution to twice the size, normalised and rectified."""
        return self._applied(
            tf.keras.layers.Conv2DTranspose, x, filters, name, kernel_size=3, strides=2
        )

    def pool(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """Max pooling to half the size."""
        return tf.keras.layers.MaxPooling2D(2, name=name)(x)

    def _applied(
        self, layer: Any, x: tf.Tensor, filters: int, name: str, **sizes: int
    ) -> tf.Tensor:
        convolution = layer(
            filters,
            padding="same",
            # Batch normalisation would take a bias away again.
            use_bias=False,
            kernel_initializer=tf.keras.initializers.HeNormal(self.seed_of(name)),
            name=name,
            **sizes,
        )
        return self.activated(convolution(x), name)


def _groups(channels: int) -> int:
    """The most groups of equal size that have `_CHANNELS_PER_GROUP` channels or more; or one."""
    most = max(1, channels // _CHANNELS_PER_GROUP)
    return max(count for count in range(1, most + 1) if channels % count == 0)
