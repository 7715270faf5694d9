"""Everything between pixels and verdict as one function of tensors, which every format exports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ssae_tf.config import RunConfig
from ssae_tf.detector import Detector
from ssae_tf.export.decode import decode
from ssae_tf.export.names import (
    ANOMALY_MAP,
    ENCODED,
    FLOAT,
    GIVEN_THRESHOLD,
    GOOD_SCORES,
    IMAGE_SIZE,
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
            is_served: whether what clients need beside the map is an output as well.

        Raises:
            RunError: the detector has no threshold.
        """
        calibration = detector.calibrated()
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
            outline: (B,) float32, the share of its peak at which a defect ends; not of residuals,
                whose defects end at the threshold.
            review_threshold: (B,) float32, the level of review.
            good_scores: (B, n) float32, what p-values come from, the same for each image.
            is_anomalous: (B,) bool, whether {map > threshold} has a component of min_area pixels.
            reconstruction: F(X), (B, H, W, 3) float32.
        """
        shape = tf.shape(x)
        size = shape[1], shape[2]
        counted = None if self.ignored is None else self.ignored.counted(*size)
        inspected, seen = self._inspected(x, counted)
        reconstruction, map_ = inspect(network, inspected, self.config, seen)
        return self._answer(reconstruction, map_, size, counted, threshold)

    def of_files(
        self, network: Callable[[tf.Tensor], tf.Tensor], files: tf.Tensor, threshold: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Inspects encoded images of any sizes together, of runs that have an inspection size.

        Each is brought to that size and back by itself, so that its answer is that of the image
        alone.

        Args:
            files: (B,) string, as `ssae_tf.export.decode.decode` takes them.
            threshold: (B,) or (1,) float32.

        Returns:
            As `__call__`, with H and W of the highest and of the widest image: what belongs to
            others is padded with 0 at bottom and right. And
            image_size: (B, 2) int32, height and width of each.
        """
        assert self.config.inspection_size is not None
        ignored = self.ignored

        def read(file: tf.Tensor) -> tuple[tf.Tensor, ...]:
            x = decode(file, self.config.data.white_level)
            size = tf.shape(x)[:2]
            counted = None if ignored is None else ignored.counted(size[0], size[1])
            inspected = self._inspected(x[None], counted)
            return size, *(part[0] for part in inspected if part is not None)

        height, width = self.config.inspection_size
        channels = (3,) if ignored is None else (3, 1)
        taken = [tf.TensorSpec((height, width, count), tf.float32) for count in channels]
        pair = tf.TensorSpec((2,), tf.int32)
        sizes, x, *seen = tf.map_fn(read, files, fn_output_signature=(pair, *taken))
        reconstruction, map_ = inspect(network, x, self.config, *seen)
        largest = tf.reduce_max(sizes, axis=0)

        def answer(parts: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
            size = parts[0][0], parts[0][1]
            counted = None if ignored is None else ignored.counted(*size)
            reconstruction, map_, threshold = (part[None] for part in parts[1:])
            outputs = self._answer(reconstruction, map_, size, counted, threshold)
            return {name: _padded(name, value[0], largest) for name, value in outputs.items()}

        threshold = tf.broadcast_to(threshold, tf.shape(files))
        parts = sizes, reconstruction, map_, threshold
        outputs = tf.map_fn(answer, parts, fn_output_signature=self._of_one_image)
        return {**outputs, IMAGE_SIZE: sizes}

    def _inspected(
        self, x: tf.Tensor, counted: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """What the network sees of images, and what of that counts."""
        size = self.config.inspection_size
        if size is None:
            return x, counted
        return resize(x, *size), None if counted is None else nearest(counted, *size)

    def _answer(
        self,
        reconstruction: tf.Tensor,
        map_: tf.Tensor,
        size: tuple[tf.Tensor, tf.Tensor],
        counted: tf.Tensor | None,
        threshold: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """The outputs for images of one size, from what `inspect` has found in them."""
        batch = tf.shape(map_)[0]
        if self.config.inspection_size is not None:
            reconstruction = resize(reconstruction, *size)
            map_ = resize(map_[..., None], *size)[..., 0]
        if counted is not None:
            map_ *= counted[..., 0]
        threshold = tf.broadcast_to(threshold, tf.reshape(batch, (1,)))
        # An image smaller than min_area can still be defective as a whole.
        min_area = tf.minimum(self.min_area, size[0] * size[1])
        outputs = {
            ANOMALY_MAP: map_,
            SCORE_BOUND: tf.reduce_max(map_, axis=(1, 2)),
            THRESHOLD: threshold,
            MIN_AREA: tf.broadcast_to(min_area, tf.reshape(batch, (1,))),
            RECONSTRUCTION: reconstruction,
        }
        if self.config.scoring.outline is not None:
            outline = tf.constant(float32_below(self.config.scoring.outline))
            outputs[OUTLINE] = tf.broadcast_to(outline, tf.reshape(batch, (1,)))
        if self.review_threshold is not None:
            review = tf.constant(float32_below(self.review_threshold))
            outputs[REVIEW_THRESHOLD] = tf.broadcast_to(review, tf.reshape(batch, (1,)))
        if self.good_scores:
            scores = tf.constant(sorted(self.good_scores), tf.float32)
            outputs[GOOD_SCORES] = tf.broadcast_to(scores, tf.stack([batch, len(self.good_scores)]))
        if self.has_verdict:
            mask = map_ > threshold[:, None, None]
            outputs[IS_ANOMALOUS] = reaches_area(mask, min_area)
        return {name: outputs[name] for name in self.outputs}

    @property
    def _of_one_image(self) -> dict[str, tf.TensorSpec]:
        """What each output has for one image."""
        number = tf.TensorSpec((), tf.float32)
        others = {
            ANOMALY_MAP: tf.TensorSpec((None, None), tf.float32),
            MIN_AREA: tf.TensorSpec((), tf.int32),
            GOOD_SCORES: tf.TensorSpec((len(self.good_scores),), tf.float32),
            IS_ANOMALOUS: tf.TensorSpec((), tf.bool),
            RECONSTRUCTION: tf.TensorSpec((None, None, 3), tf.float32),
        }
        return {name: others.get(name, number) for name in self.outputs}


def _padded(name: str, value: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """An output for one image, with 0 up to some height and width where it has pixels."""
    if name not in (ANOMALY_MAP, RECONSTRUCTION):
        return value
    missing = size - tf.shape(value)[:2]
    ends = [[0, missing[0]], [0, missing[1]], [0, 0]]
    return tf.pad(value, ends[: value.shape.rank])


def endpoints(
    serving: Serving,
    network: Callable[[tf.Tensor], tf.Tensor],
    image_size: tuple[int, int] | None = None,
) -> dict[str, tuple[_Function, list[tf.TensorSpec]]]:
    """The signatures of an artefact, those of `SIGNATURES`: name -> function and what it takes.

    `serving_default` takes images as float32 in [0, 1], `serve_u8` as uint8, `serve_bytes` as
    the bytes of their files, which must decode to one size unless the run has an inspection size
    (`Serving.of_files`). Those that end in `_at` also take the threshold, (B,) or (1,) float32.

    Args:
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

    # Traced for both signatures; with an inspection size the network is in the graph once more.
    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None,), tf.string), limit])
    def inspect_files(picture: tf.Tensor, given_threshold: tf.Tensor) -> dict[str, tf.Tensor]:
        if image_size is None and serving.config.inspection_size is not None:
            return serving.of_files(in_scope, picture, given_threshold)
        white_level = serving.config.data.white_level
        x = tf.map_fn(
            lambda content: tf.ensure_shape(decode(content, white_level), size[1:]),
            picture,
            fn_output_signature=tf.TensorSpec(size[1:], tf.float32),
        )
        return inspect(x, given_threshold)

    def as_given(picture: tf.Tensor) -> tf.Tensor:
        return picture

    prepare = {
        FLOAT: (inspect, as_given, tf.TensorSpec(size, tf.float32, name=PICTURE)),
        PIXELS: (inspect, from_pixels, tf.TensorSpec(size, tf.uint8, name=PICTURE)),
        ENCODED: (inspect_files, as_given, tf.TensorSpec((None,), tf.string, name=PICTURE)),
    }
    graphs = {}
    for name, (function, prepared, spec) in prepare.items():
        graphs[name] = (_at_own_threshold(function, prepared, serving.threshold), [spec])
        graphs[name + WITH_THRESHOLD] = (_at_given_threshold(function, prepared), [spec, limit])
    return graphs


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
