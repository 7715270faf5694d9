"""A trained detector: network, scoring and threshold as one object."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import tensorflow as tf

from ssae_tf import config as config_module
from ssae_tf.batching import batch_size, is_at_threshold, together
from ssae_tf.calibration_file import Calibration
from ssae_tf.config import RunConfig
from ssae_tf.config.arguments import checked
from ssae_tf.data.cache import resize
from ssae_tf.data.images import write_png
from ssae_tf.errors import ConfigError, InputError, RunError
from ssae_tf.files import as_json, write_json, write_text
from ssae_tf.ignore_mask import read_ignore_mask
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.fold import folded
from ssae_tf.models.weights import load_weights, save_weights
from ssae_tf.result import Image, Result, as_unit, path_of, post_process
from ssae_tf.run_folder import (
    CALIBRATION_FILE,
    CONFIG_FILE,
    IGNORE_FILE,
    WEIGHTS_FILE,
    claim,
    current,
    read_whole,
    write_together,
)
from ssae_tf.runtime.gpu import set_up_gpus, use_tensor_float_32
from ssae_tf.scoring.anomaly_map import inspect, respond
from ssae_tf.scoring.ignored import ignored_of


class Detector:
    """Finds defects in images of the surface it was trained on.

    Attributes:
        model: F, a Keras model, as it was trained.
        folded: F as it inspects, here and in every artefact: without batch normalisation and dead
            taps (`ssae_tf.models.fold.folded`), with the weights that `model` had at the start.
        config: the settings of the run.
        calibration: the threshold; None before calibration.
        ignore_mask: (h, w) bool, true where images never count, of the file that the settings name
            (`ScoringConfig.ignore`); None where they name none.
        network: F in inference as one graph for all sizes, (B, H, W, C) float32 to the same.

    Example:
        >>> from ssae_tf import Detector
        >>> detector = Detector.load("runs/tile")
        >>> result = detector.predict("new.png")
        >>> result.is_anomalous == (result.score > detector.calibration.threshold)
        True
        >>> detector.predict(result.image, threshold=0.0).score == result.score
        True
    """

    def __init__(
        self,
        model: tf.keras.Model,
        config: RunConfig,
        calibration: Calibration | None = None,
        ignore_mask: np.ndarray | None = None,
    ) -> None:
        self.model = model
        self.config = config
        self.calibration = calibration
        self.ignore_mask = ignore_mask
        self.ignored = ignored_of(config.scoring, ignore_mask)
        self.folded = folded(model)
        self._map = _compiled(self.folded, config)
        self.network = compiled_network(self.folded)
        use_tensor_float_32(False)

    def __repr__(self) -> str:
        known, model = self.calibration, self.config.model
        threshold = "none" if known is None else f"{known.threshold:.4g}"
        size = self.inspection_size
        return (
            f"<Detector category={self.config.category!r} preset={self.config.preset!r} "
            f"network={model.answer}, width {model.width:g} threshold={threshold} "
            f"inspection_size={'native' if size is None else '{}×{}'.format(*size)}>"
        )

    @classmethod
    @checked
    def load(cls, run: str | Path) -> Detector:
        """Opens a run folder.

        Args:
            run: a folder that `fit` or `save` wrote.

        Raises:
            RunError: no such folder, or something in it is missing or does not fit.
            ConfigError: config.json is not valid.
        """
        folder = Path(run)
        return read_whole(folder, lambda: cls._read(folder))

    @classmethod
    def _read(cls, folder: Path) -> Detector:
        config = run_config(folder)
        calibration = Calibration.read(current(folder, CALIBRATION_FILE))
        mask = None
        if config.scoring.ignore is not None:
            _check_there(folder, IGNORE_FILE)
            mask = read_ignore_mask(folder / IGNORE_FILE)
        return cls(load_network(config, folder / WEIGHTS_FILE), config, calibration, mask)

    @checked
    def save(self, folder: str | Path) -> None:
        """Writes config.json, weights.npz, calibration.json, and the mask if there is one.

        Args:
            folder: made if it does not exist.

        Raises:
            RunError: not calibrated, or the folder can't be written to, or holds anything else.
        """
        folder = Path(folder)
        calibration = self.calibrated()
        claim(folder)
        # Not with other weights.
        (folder / CALIBRATION_FILE).unlink(missing_ok=True)
        save_weights(self.model, folder / WEIGHTS_FILE)
        write_text(folder / CONFIG_FILE, config_module.to_json(self.config))
        if self.ignore_mask is not None:
            write_png(folder / IGNORE_FILE, self.ignore_mask)
        # Last, because a run counts as finished when it is there.
        write_json(folder / CALIBRATION_FILE, calibration.to_dict())

    def save_calibration(self, folder: Path) -> None:
        """Writes settings and threshold into the run that all else came from, both or none.

        Args:
            folder: of the run, whose lock this process holds (`run_folder.writing`).

        Raises:
            RunError: not calibrated, or the folder can't be written to.
        """
        calibration = as_json(self.calibrated().to_dict())
        settings = config_module.to_json(self.config)
        write_together(folder, {CONFIG_FILE: settings, CALIBRATION_FILE: calibration})

    @overload
    def predict(self, image: Image, *, threshold: float | None = None) -> Result: ...

    @overload
    def predict(
        self, image: list[Image] | tuple[Image, ...], *, threshold: float | None = None
    ) -> list[Result]: ...

    def predict(
        self, image: Image | list[Image] | tuple[Image, ...], *, threshold: float | None = None
    ) -> Result | list[Result]:
        """Inspects one image, or each of a list.

        Args:
            image: a path, an image of Pillow, or (H, W, 3) or (H, W), uint8, uint16, or float in
                [0, 1], RGB. A list or tuple of these is inspected as in `predict_batch`.
            threshold: in place of the calibrated one and of the level of review; None for these.

        Returns:
            The verdict with score, defects, map and mask, in pixels of the image; a list of them,
            in order, for a list.

        Raises:
            DataError: the file can't be read, or the image is none of the above.
            RunError: the detector is not calibrated, or its weights are damaged.
        """
        if isinstance(image, (list, tuple)):
            return self.predict_batch(image, threshold=threshold)
        self.calibrated()
        x = as_unit(image, self.config.data.white_level)
        return self._result(path_of(image), x, *self.inspect(x), threshold)

    @checked
    def predict_batch(
        self,
        images: Sequence[Any] | np.ndarray,
        *,
        threshold: float | None = None,
        size: int | None = None,
    ) -> list[Result]:
        """Inspects images, several at a time: the results of `predict`, in order.

        Scores and maps agree to rounding, and verdicts always: an image whose score is the
        threshold but for rounding is inspected by itself.

        Args:
            images: each as in `predict`, of any sizes.
            threshold: as in `predict`.
            size: images that go through the network together, each in all its views, where they
                come to one size; None for what suits the device.

        Raises:
            DataError, RunError: as of `predict`.
            InputError: `size` is no number of images.
        """
        if size is not None and size < 1:
            raise InputError(f"Expected a size of at least 1. Received: {size}.")
        self.calibrated()
        xs = [as_unit(image, self.config.data.white_level) for image in images]
        answers = self.inspect_batch(xs, size)
        results = []
        for image, x, answer in zip(images, xs, answers, strict=True):
            result = self._result(path_of(image), x, *answer, threshold)
            if len(images) > 1 and is_at_threshold(result):
                result = self._result(result.path, x, *self.inspect(x), threshold)
            results.append(result)
        return results

    def _result(
        self,
        path: str,
        x: np.ndarray,
        reconstruction: np.ndarray,
        map_: np.ndarray,
        threshold: float | None,
    ) -> Result:
        known = self.calibrated()
        return post_process(
            path,
            x,
            reconstruction,
            map_,
            known.threshold if threshold is None else threshold,
            known.min_area,
            self.config.scoring.outline,
            review_threshold=known.review_threshold if threshold is None else None,
            good_scores=known.unseen_scores,
        )

    def inspect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """F(X) and the anomaly map, without a verdict.

        Args:
            image: X, (H, W, 3) float32 in [0, 1], of any size from 1 × 1.

        Returns:
            F(X), (H, W, 3) float32, and the map, (H, W) float32, both in pixels of the image:
            where the run resizes, they are computed at the inspection size and resized back. The
            map is 0 where the image is ignored.

        Raises:
            RunError: the network's answer is not finite.
            DataError: the image is so small that all of it is ignored.
        """
        return self.inspect_batch([image], 1)[0]

    def inspect_batch(
        self, images: Sequence[np.ndarray], size: int | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """`inspect` of several images, in order; `size` as in `predict_batch`."""
        answers = zip(images, self.answers(images, size), strict=True)
        return [self._in_pixels_of(image, *answer) for image, answer in answers]

    def answers(
        self, images: Sequence[np.ndarray], size: int | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """`inspect_batch` at the inspection size: what can be kept of many large images."""
        seen = [self.as_inspected(image) for image in images]
        counted = [
            self.ignored.at_size(*image.shape[:2], *x.shape[:2])
            for image, x in zip(images, seen, strict=True)
            if self.ignored is not None
        ]
        return together(self._map, seen, batch_size() if size is None else size, counted)

    def counted(self, height: int, width: int) -> np.ndarray | None:
        """Which pixels of an image of a size count, as `Ignored.pixels`; None for all."""
        return None if self.ignored is None else self.ignored.pixels(height, width)

    def _in_pixels_of(
        self, image: np.ndarray, reconstruction: np.ndarray, map_: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        height, width = image.shape[:2]
        return resize(reconstruction, height, width), self.full_size(map_, height, width)

    def full_size(self, map_: np.ndarray, height: int, width: int) -> np.ndarray:
        """A map of `answers` at the size of its image, 0 where this is ignored."""
        map_, counted = resize(map_, height, width), self.counted(height, width)
        return map_ if counted is None else np.where(counted, map_, np.float32(0.0))

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """F(X) alone.

        Args:
            x: X, (H, W, 3) float32 in [0, 1], of any size; it is not resized.

        Returns:
            (H, W, 3) float32.
        """
        answer = respond(self.network, tf.constant(x[None]), self.config.model.downsampling)
        return np.asarray(answer.reconstruction[0])

    def as_inspected(self, image: np.ndarray) -> np.ndarray:
        """An image at the inspection size, (H, W, 3) float32."""
        size = self.inspection_size
        return image if size is None else resize(image, *size)

    def replace(self, **changes: Any) -> Detector:
        """A detector with the same network and other values of some attributes.

        Args:
            **changes: of `config`, `calibration` and `ignore_mask`.
        """
        if unknown := changes.keys() - {"config", "calibration", "ignore_mask"}:
            raise TypeError(f"A detector has no {', '.join(sorted(unknown))} to replace.")
        other = copy.copy(self)
        vars(other).update(changes)
        other.ignored = ignored_of(other.config.scoring, other.ignore_mask)
        # What stays the same is not traced anew.
        if changes.keys() - {"calibration"}:
            other._map = _compiled(other.folded, other.config)
        return other

    @property
    def inspection_size(self) -> tuple[int, int] | None:
        """(height, width) that images are resized to; None for their own size."""
        return self.config.inspection_size

    def calibrated(self) -> Calibration:
        """The threshold and where it comes from.

        Raises:
            RunError: there is none yet.
        """
        if self.calibration is None:
            raise RunError("This detector has no threshold yet: calibrate it first.")
        return self.calibration


def run_config(folder: Path) -> RunConfig:
    """The settings of a finished run, without its network.

    Raises:
        RunError: no such folder, or something in it is missing.
        ConfigError: config.json is not valid.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run folder.")
    _check_there(folder, CONFIG_FILE, WEIGHTS_FILE, CALIBRATION_FILE)
    try:
        return config_module.load(current(folder, CONFIG_FILE))
    except ConfigError as error:
        if "Unknown setting" not in str(error):
            raise
        raise ConfigError(
            f"{error} The run may be of another version of ssae_tf: `ssae-tf fit` makes it anew."
        ) from None


def _check_there(folder: Path, *names: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise RunError(f"{folder}: has no {name}, so this is no finished run of `ssae-tf fit`.")


def load_network(config: RunConfig, weights: Path) -> tf.keras.Model:
    """The network of some settings with weights from a file.

    Args:
        config: the settings of the run; how training computed does not matter here.
        weights: what `save_weights` wrote.

    Raises:
        RunError: the file can't be read, or belongs to another network.
    """
    set_up_gpus()
    model = autoencoder(config.model, training_size=config.training.stages[0].size)
    load_weights(model, weights)
    return model


def compiled_network(model: tf.keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """F in inference as one graph for all sizes, from (B, H, W, C) float32 to the same."""
    return _graph(model, lambda x: model(x, training=False))


def _compiled(
    model: tf.keras.Model, config: RunConfig
) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """`inspect` as one graph for all sizes, of X and, where some is ignored, what counts of it."""
    more = [tf.TensorSpec((1, None, None, 1), tf.float32)] if config.scoring.ignores else []
    return _graph(
        model, lambda *x: inspect(lambda y: model(y, training=False), x[0], config, *x[1:]), *more
    )


def _graph(
    model: tf.keras.Model, function: Callable[..., Any], *more: tf.TensorSpec
) -> Callable[..., Any]:
    """One trace for all sizes of a model's images; each new size would be traced otherwise."""
    specification = tf.TensorSpec((None, None, None, model.inputs[0].shape[-1]), tf.float32)
    return tf.function(function, autograph=False, input_signature=[specification, *more])
