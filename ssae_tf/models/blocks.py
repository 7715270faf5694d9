"""The layers of Table 1 that Keras has not (section 3.3).

Dilated convolutions that skip dead taps, and a batch normalisation whose inference can be made to
agree with its training.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import tensorflow as tf

# Of batch normalisation, added to the variance.
EPSILON = 1e-3


class DilatedConv2D(tf.keras.layers.Layer):
    """A dilated convolution, stride 1, zero padding to the same size, that skips dead taps.

    Dead are those that a map is too small for, and after `skip_dead_taps` those that are zero.

    On a map of height m a tap at distance k·rate ≥ m reads nothing but padding. Such taps add
    nothing and get no gradient, so they keep the values they were given. They start at zero here:
    random ones would fire as noise on maps large enough to reach them, at inspection. When height
    and width are known the kernel is cropped to its live taps, with the same result: TensorFlow's
    CPU backward pass of a 5 × 5 kernel of rate 16 on a 16 × 16 map, where one tap lives, takes six
    times as long as that of a 1 × 1 kernel.

    With `reach` below 1, training also leaves out the taps that read padding for most of the map
    (those farther than reach · m). A network trained on crops then finds the inside of a large
    picture as it knew the inside of a crop; with all taps, it has only ever seen padding on one
    side or the other.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        rate: int,
        training_map: int,
        reach: float = 1.0,
        seed: int = 0,
        **keras_arguments: Any,
    ) -> None:
        """Keeps the settings; weights are made on the first call.

        Args:
            filters: output channels.
            kernel_size: side of the kernel, odd.
            rate: dilation rate.
            training_map: height and width of the smallest map in training; taps that it does not
                train start at zero.
            reach: largest distance of a trained tap, as a share of the map's side.
            seed: of the initial values.
            keras_arguments: `name`, `dtype`.
        """
        super().__init__(**keras_arguments)
        self.filters = filters
        self.kernel_size = kernel_size
        self.rate = rate
        self.training_map = training_map
        self.reach = reach
        self.seed = seed
        self._outermost = kernel_size // 2

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the kernel, (kernel_size, kernel_size, C, filters)."""
        channels = int(input_shape[-1] or 0)
        side, middle = self.kernel_size, self.kernel_size // 2
        taps = self._trained_taps(self.training_map)
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

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(B, H, W, C) -> (B, H, W, filters)."""
        return self.convolve(x, training)

    def convolve(self, x: tf.Tensor, training: bool, scale: tf.Tensor | None = None) -> tf.Tensor:
        """What `call` gives, times `scale`, (filters,), without a pass over the map for it."""
        taps = self._trained_taps if training else self._live_taps
        rows, columns, middle = taps(x.shape[1]), taps(x.shape[2]), self.kernel_size // 2
        kernel = tf.convert_to_tensor(self.kernel)
        kernel = kernel[middle - rows : middle + rows + 1, middle - columns : middle + columns + 1]
        kernel = tf.cast(kernel if scale is None else kernel * scale, x.dtype)
        # Pixels are moved into the batch and back for every rate but 1, single taps or not.
        rate = self.rate if rows or columns else 1
        # Not tf.nn.conv2d: its gradient knows no dilation on the CPU.
        return tf.nn.convolution(x, kernel, padding="SAME", dilations=rate)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape with `filters` channels."""
        return (*input_shape[:-1], self.filters)

    def skip_dead_taps(self) -> None:
        """Inference leaves out what lies beyond the outermost tap that is not zero from now on.

        For networks that are trained no further. Functions that are traced already stay as they
        are.
        """
        self._outermost = outermost_tap(np.asarray(self.kernel))

    def _live_taps(self, size: int | None) -> int:
        """Taps on either side of the middle that inference on maps of this size uses."""
        return min(self._outermost, self._reaching_taps(size))

    def _trained_taps(self, size: int | None) -> int:
        """Taps on either side of the middle that training on maps of this size uses."""
        reaching = self._reaching_taps(size)
        return reaching if size is None else min(reaching, int(self.reach * size) // self.rate)

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


class BatchNormalization(tf.keras.layers.Layer):
    """Batch normalisation with a choice of what training normalises with.

    Keras' layer moves its variance towards the biased one in version 2 and the unbiased one in
    version 3; this one takes the unbiased one under both.

    Attributes:
        mode: read when a function that calls the layer is traced.
            "batch": training uses the batch's statistics, and the moving ones follow.
            "moving": training uses the moving ones, as inference does, and leaves them alone.
            "estimate": as "batch", but the moving ones become the batch's own.
    """

    def __init__(self, momentum: float, **keras_arguments: Any) -> None:
        """Keeps the settings.

        Args:
            momentum: share of the moving statistics that each step keeps.
            keras_arguments: `name`.
        """
        # Statistics stay float32 when the network computes in bfloat16, and so do the weights;
        # the input keeps its type.
        super().__init__(dtype="float32", autocast=False, **keras_arguments)
        self.momentum = momentum
        self.mode: Literal["batch", "moving", "estimate"] = "batch"

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
        if not training or self.mode == "moving":
            scale, offset = self.scale_and_offset()
            return x * tf.cast(scale, x.dtype) + tf.cast(offset, x.dtype)
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        mean = tf.convert_to_tensor(self.moving_mean)
        variance = tf.convert_to_tensor(self.moving_variance)
        y, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=EPSILON, is_training=True
        )
        keep = 0.0 if self.mode == "estimate" else self.momentum
        self.moving_mean.assign(keep * mean + (1.0 - keep) * batch_mean)
        self.moving_variance.assign(keep * variance + (1.0 - keep) * batch_variance)
        return y

    def scale_and_offset(self) -> tuple[tf.Tensor, tf.Tensor]:
        """What the moving statistics make of it: x · scale + offset, (C,) float32 each."""
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        mean = tf.convert_to_tensor(self.moving_mean)
        scale = gamma * tf.math.rsqrt(tf.convert_to_tensor(self.moving_variance) + EPSILON)
        return scale, beta - mean * scale

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape."""
        return input_shape
