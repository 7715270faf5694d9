"""Images larger than memory allows: the network looks at overlapping tiles.

A pixel of F(X) depends on no pixel of X further away than the network's receptive field reaches.
Where tiles overlap by as much, their answers are those for the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ssae_tf.models.blocks import DilatedConv2D, Upsample2D, outermost_tap
from ssae_tf.models.graph import inbound

Network = Callable[[tf.Tensor], tf.Tensor]


def receptive_reach(model: tf.keras.Model) -> int:
    """How far from a pixel of F(X) the furthest pixel of X may lie that it depends on.

    An upper bound: pooling cells are counted as if every pixel lay at their edge. Dilated kernels
    count up to their outermost tap that is not zero.

    Args:
        model: F, as `ssae_tf.models.autoencoder` builds it.

    Returns:
        Pixels, along either axis.
    """
    # Of each layer's output: pixels of the image from one to the next, and their reach.
    found: dict[str, tuple[float, float]] = {}
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.InputLayer):
            found[layer.name] = (1.0, 0.0)
            continue
        before = [found[source.name] for source in inbound(layer)]
        step, reach = max(one[0] for one in before), max(one[1] for one in before)
        if isinstance(layer, DilatedConv2D):
            reach += outermost_tap(np.asarray(layer.kernel)) * layer.rate * step
        elif isinstance(layer, (tf.keras.layers.MaxPooling2D, tf.keras.layers.AveragePooling2D)):
            reach += step * (layer.pool_size[0] - 1)
            step *= layer.pool_size[0]
        # A transposed convolution is a convolution for Keras 2.
        elif isinstance(layer, tf.keras.layers.Conv2DTranspose):
            reach += step * (layer.kernel_size[0] // 2)
            step /= layer.strides[0]
        elif isinstance(layer, tf.keras.layers.Conv2D):
            reach += step * (layer.kernel_size[0] // 2)
            step *= layer.strides[0]
        elif isinstance(layer, Upsample2D):
            reach += step
            step /= layer.factor
        found[layer.name] = (step, reach)
    return math.ceil(found[model.layers[-1].name][1])


def tiled(network: Network, tile: int, halo: int) -> Network:
    """A network that looks at one tile at a time, for use outside of graphs.

    Args:
        network: from (1, H, W, C) float32 to (1, H, W, C'), H and W multiples of
            `ModelConfig.downsampling`.
        tile: side of the tiles, pixels, a multiple of it.
        halo: what each is seen with on every side, pixels, a multiple of it; nothing is added
            beyond the image's own edge.

    Returns:
        From (1, H, W, C) to (1, H, W, C'). Equal to the network's answer to the whole, to rounding,
        where the halo is at least `receptive_reach`.
    """

    def run(x: tf.Tensor) -> tf.Tensor:
        height, width = int(x.shape[1]), int(x.shape[2])
        result: np.ndarray | None = None
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                bottom, right = min(top + tile, height), min(left + tile, width)
                first_row, first_column = max(0, top - halo), max(0, left - halo)
                seen = x[:, first_row : bottom + halo, first_column : right + halo]
                answer = network(seen)
                if result is None:
                    result = np.empty((*x.shape[:3], answer.shape[-1]), np.float32)
                result[:, top:bottom, left:right] = answer[
                    :,
                    top - first_row : bottom - first_row,
                    left - first_column : right - first_column,
                ]
        return tf.constant(result)

    return run
