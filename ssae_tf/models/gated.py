"""An answer that repaints only what it takes for a defect: F(X) = (1 − A) ⊙ X + A ⊙ G(X).

G is the network of Table 1, the *reconstructive* sub-network; A, a mask in [0, 1], comes from a
*discriminative* one, a small U-Net (the two of DRAEM, Zavrtanik et al., 2021, with one answer for
both). Table 1 by itself has to send every pixel of a normal region through its bottleneck, and what
it loses on the way covers the defects. Here such regions pass untouched, and A says how much of a
pixel is repainted.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ssae_tf.models.blocks import Builder, Standardize, registered

STANDARDIZED = "standardized"
"""Name of the layer."""

# Filters of the U-Net at full, half … a thirty-second of the size, at width 1.
_FILTERS = (48, 96, 144, 192, 288, 288)


def gated(x: tf.Tensor, repaint: tf.Tensor, build: Builder) -> tf.Tensor:
    """Puts the discriminative sub-network and the blend behind Table 1.

    Args:
        x: X, (B, H, W, C), H and W multiples of 32.

    Returns:
        F(X), A and G(X) side by side, (B, H, W, 2 · C + 1) float32.
    """
    if build.config.normalization == "group":
        build = build.grouped()
    full, *filters = (build.filters(count) for count in _FILTERS)
    y = Standardize(name=STANDARDIZED)(x) if build.config.standardize else x
    y = build.conv(y, filters[0], "gate_encoder1_conv1", kernel_size=4, strides=2)
    skipped = [y := build.conv(y, filters[0], "gate_encoder1_conv2")]
    for level, count in enumerate(filters[1:], start=2):
        y = build.pool(y, f"gate_encoder{level}_pool")
        y = build.conv(y, count, f"gate_encoder{level}_conv1")
        y = build.conv(y, count, f"gate_encoder{level}_conv2")
        skipped.append(y)
    for level in range(len(filters) - 1, 0, -1):
        count = filters[level - 1]
        y = build.transposed(y, count, f"gate_decoder{level}_up")
        y = tf.keras.layers.Concatenate(name=f"gate_decoder{level}_concat")([y, skipped[level - 1]])
        y = build.conv(y, count, f"gate_decoder{level}_conv")
    y = build.transposed(y, full, "gate_decoder0_up")
    gate = tf.keras.layers.Conv2D(
        1,
        1,
        activation="sigmoid",
        kernel_initializer=tf.keras.initializers.HeNormal(build.seed_of("gate")),
        name="gate",
    )(y)
    return Blend(name="repaired")([x, gate, repaint])


@registered
class Blend(tf.keras.layers.Layer):
    """(X, A, G(X)) to F(X), A and G(X) side by side."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """(B, H, W, C), (B, H, W, 1) and (B, H, W, C) -> (B, H, W, 2 · C + 1)."""
        x, gate, repaint = inputs
        return tf.concat([x + gate * (repaint - x), gate, repaint], axis=-1)

    def compute_output_shape(self, input_shape: list[Any]) -> tuple[int | None, ...]:
        *rest, channels = input_shape[0]
        return (*rest, 2 * channels + 1)
