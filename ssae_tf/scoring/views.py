"""Test-time augmentation: the network sees an image turned and mirrored as training has seen it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from ssae_tf.config import RunConfig


class View(NamedTuple):
    """A turn by a multiple of 90°, or a mirror image.

    Attributes:
        reversed_axes: of 1 (rows) and 2 (columns), which are reversed first.
        is_transposed: whether rows and columns are then exchanged.
    """

    reversed_axes: tuple[int, ...] = ()
    is_transposed: bool = False

    def apply(self, x: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) images to the same, or to (B, W, H, C) if transposed."""
        return self._transposed(self._reversed(x))

    def invert(self, x: tf.Tensor) -> tf.Tensor:
        """What belongs to such images, back in the place of the images: the inverse of `apply`."""
        return self._reversed(self._transposed(x))

    def _reversed(self, x: tf.Tensor) -> tf.Tensor:
        # By `gather`, which every export format has for any size; slices take ten times as long.
        for axis in self.reversed_axes:
            size = x.shape[axis] or tf.shape(x)[axis]
            x = tf.gather(x, size - 1 - tf.range(size), axis=axis)
        return x

    def _transposed(self, x: tf.Tensor) -> tf.Tensor:
        return tf.transpose(x, (0, 2, 1, 3)) if self.is_transposed else x


_AS_IT_IS = View()
_LEFT_RIGHT, _TOP_BOTTOM, _HALF_TURN = View((2,)), View((1,)), View((1, 2))
_QUARTER_TURNS = View((2,), True), View((1,), True)


def views(config: RunConfig) -> tuple[View, ...]:
    """How the network sees each image: first as it is, then in what else training draws of it.

    Args:
        config: without `scoring.test_time_augmentation` there is but the one view. Else there are
            the four turns where training turns, or the mirror images that it draws, at most four
            likewise; these also where images are turned but not square.
    """
    data = config.data
    if not config.scoring.test_time_augmentation:
        return (_AS_IT_IS,)
    size = config.inspection_size
    if data.rotate and size is not None and size[0] == size[1]:
        return (_AS_IT_IS, _HALF_TURN, *_QUARTER_TURNS)
    left_right, top_bottom, half_turn = data.flip_horizontal, data.flip_vertical, data.rotate
    # Any two of these one after the other are the third.
    are_all = left_right + top_bottom + half_turn >= 2
    drawn = {_LEFT_RIGHT: left_right, _TOP_BOTTOM: top_bottom, _HALF_TURN: half_turn}
    return (_AS_IT_IS, *(view for view, is_drawn in drawn.items() if is_drawn or are_all))


def augmented(x: tf.Tensor, used: Sequence[View]) -> tf.Tensor:
    """Images in each view, in one batch, so that an exported graph has the network once.

    Args:
        x: (B, H, W, C); H and W are the same where a view is transposed.
        used: of `views`.

    Returns:
        (views · B, H, W, C), view by view.
    """
    return x if len(used) == 1 else tf.concat([view.apply(x) for view in used], axis=0)


def averaged(evidence: tf.Tensor, used: Sequence[View]) -> tf.Tensor:
    """The mean over the views of what belongs to a batch of `augmented`, in the images' own place.

    Args:
        evidence: (views · B, H, W, C) float32.
        used: of `views`.

    Returns:
        (B, H, W, C) float32.
    """
    parts = zip(used, tf.split(evidence, len(used)), strict=True)
    return tf.add_n([view.invert(part) for view, part in parts]) / len(used)
