"""Puts a changed image and a region together: X̂ and M (section 3.2, figure 5)."""

from __future__ import annotations

import tensorflow as tf

# Where the region came out as it was (flat surfaces), its brightness changes by this much instead,
# so that ‖X̂ − X‖₁ > 0 holds always, as equation (3) needs.
FALLBACK_BRIGHTNESS = 0.1
# "As it was": a mean change below half a grey level of 8 bits.
_UNCHANGED = 0.5 / 255.0


def compose(x: tf.Tensor, changed: tf.Tensor, region: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes the changed image inside the region and the original outside.

    Args:
        x: X, (B, H, W, C) float32 in [0, 1].
        changed: like X; clipped to [0, 1].
        region: (B, H, W) bool, at least one pixel in every image.

    Returns:
        X̂ and M, both (B, H, W, C) float32. M is {0, 1}, equal in all channels; X̂ is X bit for bit
        where M is 0, and differs from X somewhere in every image.
    """
    mask = tf.broadcast_to(tf.cast(region, tf.float32)[..., None], tf.shape(x))
    changed = tf.clip_by_value(changed, 0.0, 1.0)
    changed = _ensure_change(x, changed, mask)
    # Exact, as factors and one of the terms are 0 or 1; a choice by element takes twice as long.
    return mask * changed + (1.0 - mask) * x, mask


def _ensure_change(x: tf.Tensor, changed: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Shifts the brightness of images whose region is as it was, away from the nearer end."""

    def total(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(values, axis=(1, 2, 3), keepdims=True)

    area = total(mask)
    unchanged = total(mask * tf.abs(changed - x)) < _UNCHANGED * area

    def shifted() -> tf.Tensor:
        step = tf.where(total(mask * x) < 0.5 * area, FALLBACK_BRIGHTNESS, -FALLBACK_BRIGHTNESS)
        return tf.where(unchanged, tf.clip_by_value(x + step, 0.0, 1.0), changed)

    return tf.cond(tf.reduce_any(unchanged), shifted, lambda: changed)
