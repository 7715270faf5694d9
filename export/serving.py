"""Everything between pixels and verdict as one function of tensors, which every format exports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ssae_tf.config import RunConfig
from ssae_tf.detector import Detector
from ssae_tf.errors import RunError
from ssae_tf.export.decode import decode
from ssae_tf.export.names import (
    ANOMALY_MAP,
    ENCODED,
    FLOAT,
    GIVEN_THRESHOLD,
    GOOD_SCORES,
    IS_ANOMALOUS,
    MAX_SCORES,
    MIN_AREA,
    NETWORK,
    OUTLINE,
    PICTURE,
    PIXELS,
    RECONSTRUCTION,
    REVIEW_THRESHOLD,
    SCORE_BOUND,
    THRESHOLD,
    WITH_THRESHOLD,
)
from ssae_tf.export.network import folded
from ssae_tf.export.verdict import reaches_area
from ssae_tf.ops.resampling import nearest, resize
from ssae_tf.scoring.anomaly_map import inspect
from ssae_tf.scoring.ignored import Ignored
from ssae_tf.scoring.threshold import float32_below

_Function = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Serving:
    """What an exported graph computes, apart from its weights.

    Attributes:
        config: the settings of the run.
        threshold: the score above which an image is anomalous, unless the caller gives another.
        min_area: pixels of the image that a defect must have.
        ignored: what of every image never counts; None for nothing.
        has_reconstruction: whether F(X) is an output.
        has_verdict: whether `is_anomalous` is an output; the area rule needs a loop, which not
            every format has.
        review_threshold: of an output of that name; None for none.
        good_scores: what p-values come from, an output of that name; none for none.
    """

    config: RunConfig
    threshold: float
    min_area: int
    ignored: Ignored | None = dataclasses.field(default=None, repr=False, compare=False)
    has_reconstruction: bool = True
    has_verdict: bool = True
    review_threshold: float | None = None
    good_scores: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        detector: Detector,
        *,
        has_reconstruction: bool = True,
        has_verdict: bool = True,
        is_served: bool = False,
    ) -> Serving:
        """What a detector computes.

        Args:
            detector: calibrated.
            has_reconstruction, has_verdict: as the attributes.
            is_served: whether what clients need beside the map is an output as well.

        Raises:
            RunError: the detector has no threshold.
        """
        calibration = detector.calibration
        if calibration is None:
            raise RunError("This detector has no threshold yet: calibrate it first.")
        scores = calibration.unseen_scores if is_served else ()
        return cls(
            detector.config,
            calibration.threshold,
            calibration.min_area,
            detector.ignored,
            has_reconstruction,
            has_verdict,
            calibration.review_threshold if is_served else None,
            scores if len(scores) <= MAX_SCORES else (),
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        names = [ANOMALY_MAP, SCORE_BOUND, THRESHOLD, MIN_AREA]
        names += [OUTLINE] if self.config.scoring.outline is not None else []
        names += [REVIEW_THRESHOLD] if self.review_threshold is not None else []
        names += [GOOD_SCORES] if self.good_scores else []
        names += [IS_ANOMALOUS] if self.has_verdict else []
        return (*names, RECONSTRUCTION) if self.has_reconstruction else tuple(names)

    def __call__(
        self, network: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, threshold: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Inspects images of one size.

        Args:
            network: F, from (B, H, W, 3) to the same, H and W multiples of 8.
            x: X, (B, H, W, 3) float32 in [0, 1], H and W from 1.
            threshold: (B,) or (1,) float32.

        Returns:
            anomaly_map: (B, H, W) float32, at least 0, never clamped, in pixels of X; 0 where X is
                ignored.
            score_bound: (B,) float32, the map's maximum. The image score is no higher, so that a
                image whose bound does not exceed the threshold is normal.
            threshold: (B,) float32, the one that was used.
            min_area: (B,) int32.
            outline: (B,) float32, the level at which defects end; not of residuals, whose defects
                end at the threshold.
            review_threshold: (B,) float32, the level of review.
            good_scores: (B, n) float32, what p-values come from, the same for each image.
            is_anomalous: (B,) bool, whether {map > threshold} has a component of min_area pixels.
            reconstruction: F(X), (B, H, W, 3) float32.
        """
        shape = tf.shape(x)
        batch, height, width = shape[0], shape[1], shape[2]
        size = self.config.inspection_size
        inspected = x if size is None else resize(x, *size)
        counted = seen = None if self.ignored is None else self.ignored.counted(height, width)
        if size is not None and counted is not None:
            seen = nearest(counted, *size)
        reconstruction, map_ = inspect(network, inspected, self.config, seen)
        if size is not None:
            reconstruction = resize(reconstruction, height, width)
            map_ = resize(map_[..., None], height, width)[..., 0]
        if counted is not None:
            map_ *= counted[..., 0]
        threshold = tf.broadcast_to(threshold, tf.reshape(batch, (1,)))
        # An image smaller than min_area can still be defective as a whole.
        min_area = tf.minimum(self.min_area, height * width)
        found = {
            ANOMALY_MAP: map_,
            SCORE_BOUND: tf.reduce_max(map_, axis=(1, 2)),
            THRESHOLD: threshold,
            MIN_AREA: tf.broadcast_to(min_area, tf.reshape(batch, (1,))),
            RECONSTRUCTION: reconstruction,
        }
        if self.config.scoring.outline is not None:
            outline = tf.constant(float32_below(self.config.scoring.outline))
            found[OUTLINE] = tf.broadcast_to(outline, tf.reshape(batch, (1,)))
        if self.review_threshold is not None:
            review = tf.constant(float32_below(self.review_threshold))
            found[REVIEW_THRESHOLD] = tf.broadcast_to(review, tf.reshape(batch, (1,)))
        if self.good_scores:
            scores = tf.constant(sorted(self.good_scores), tf.float32)
            found[GOOD_SCORES] = tf.broadcast_to(scores, tf.stack([batch, len(self.good_scores)]))
        if self.has_verdict:
            mask = map_ > threshold[:, None, None]
            found[IS_ANOMALOUS] = reaches_area(mask, min_area)
        return {name: found[name] for name in self.outputs}


def endpoints(
    serving: Serving,
    network: Callable[[tf.Tensor], tf.Tensor],
    image_size: tuple[int, int] | None = None,
) -> dict[str, tuple[_Function, list[tf.TensorSpec]]]:
    """The signatures of an artefact, those of `SIGNATURES`: name -> function and what it takes.

    `serving_default` takes images as float32 in [0, 1], `serve_u8` as uint8, `serve_bytes` as
    the bytes of their files, which must decode to one size. Those that end in `_at` also take the
    threshold, (B,) or (1,) float32.

    Args:
        serving: what they compute.
        network: as in `Serving.__call__`.
        image_size: (height, width) of all images; None for any.
    """
    height, width = image_size or (None, None)
    size = (None, height, width, 3)
    limit = tf.TensorSpec((None,), tf.float32, name=GIVEN_THRESHOLD)

    def in_scope(x: tf.Tensor) -> tf.Tensor:
        with tf.name_scope(NETWORK):
            return network(x)

    # Traced once for all signatures.
    @tf.function(
        autograph=False, input_signature=[tf.TensorSpec(size, tf.float32, name=PICTURE), limit]
    )
    def inspect(picture: tf.Tensor, given_threshold: tf.Tensor) -> dict[str, tf.Tensor]:
        return serving(in_scope, picture, given_threshold)

    def from_pixels(picture: tf.Tensor) -> tf.Tensor:
        return tf.cast(picture, tf.float32) / 255.0

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None,), tf.string)])
    def from_files(picture: tf.Tensor) -> tf.Tensor:
        white_level = serving.config.data.white_level
        return tf.map_fn(
            lambda content: tf.ensure_shape(decode(content, white_level), size[1:]),
            picture,
            fn_output_signature=tf.TensorSpec(size[1:], tf.float32),
        )

    prepare = {
        FLOAT: (lambda picture: picture, tf.TensorSpec(size, tf.float32, name=PICTURE)),
        PIXELS: (from_pixels, tf.TensorSpec(size, tf.uint8, name=PICTURE)),
        ENCODED: (from_files, tf.TensorSpec((None,), tf.string, name=PICTURE)),
    }
    found = {}
    for name, (function, spec) in prepare.items():
        found[name] = (_at_own_threshold(inspect, function, serving.threshold), [spec])
        found[name + WITH_THRESHOLD] = (_at_given_threshold(inspect, function), [spec, limit])
    return found


def _at_own_threshold(inspect: _Function, prepare: _Function, threshold: float) -> _Function:
    # The arguments' names are those of the graphs' inputs.
    def serve(picture: tf.Tensor) -> dict[str, tf.Tensor]:
        # A constant of this graph: converters turn captured tensors into inputs.
        return inspect(prepare(picture), tf.constant(float32_below(threshold), shape=(1,)))

    return serve


def _at_given_threshold(inspect: _Function, prepare: _Function) -> _Function:
    def serve(picture: tf.Tensor, given_threshold: tf.Tensor) -> dict[str, tf.Tensor]:
        return inspect(prepare(picture), given_threshold)

    return serve


def network_of(detector: Detector) -> tf.keras.Model:
    """The detector's network as it is exported."""
    return folded(detector.model)
