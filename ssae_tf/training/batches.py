"""The images of a training: to learn from, to validate on, and for batch statistics.

Which they are follows from the seed, the purpose and the step alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from ssae_tf.config import RunConfig, Stage
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.pipeline import Sampler
from ssae_tf.scoring.ignored import counted_in
from ssae_tf.training.step import corrupt_in_pipeline

VALIDATION_BATCHES = 4
STATISTICS_BATCHES = 16

# Purposes of random numbers: apart from each other whatever the seed.
_TRAIN, _SELECT, _STATISTICS = 1, 2, 3


class Batches:
    """Makes the batches of one training from the decoded images of two splits."""

    def __init__(self, train: ImageCache, select: ImageCache, config: RunConfig) -> None:
        self._caches = {"train": train, "select": select}
        self._config = config
        self._resized: dict[tuple[str, int], np.ndarray] = {}

    @functools.cached_property
    def mean_colour(self) -> np.ndarray:
        """(3,) in [0, 1], over all training images, each with the same weight."""
        images = self._caches["train"].images
        return np.mean([p.mean(axis=(0, 1)) / _white(p) for p in images], axis=0)

    def training(
        self, index: int, stage: Stage, first: int, begin: int, end: int
    ) -> tf.data.Dataset:
        """The batches of some steps of a stage.

        Args:
            first: the stage's first step; like the next two counted over all stages.
            begin, end: the steps begin … end − 1.

        Returns:
            A data set of (step, X), or of (step, X, X̂, M) if `corruption.where` is "data". Where
            some of the images is ignored, X is followed by what counts of it.
        """
        sampler = self._sampler("train", stage, _TRAIN, index)
        batches = sampler.batches(begin - first, end - first)
        if self._caches["train"].ignored is not None:
            sampler = self._sampler("train", stage, _TRAIN, index, counted=True)
            counted = sampler.batches(begin - first, end - first)
            both = tf.data.Dataset.zip((batches, counted))
            batches = both.map(lambda one, other: (*one, other[1]))
        batches = batches.map(lambda step, *x: (step + first, *x))
        if self._config.corruption.where == "data":
            batches = corrupt_in_pipeline(batches, self._config)
        return batches

    def validation(self, stage: Stage) -> list[np.ndarray]:
        """Clean images of the *select* split, always the same, of a stage's sizes."""
        sampler = self._sampler("select", stage, _SELECT)
        return [x.numpy() for _, x in sampler.batches(0, VALIDATION_BATCHES)]

    def validation_counted(self, stage: Stage) -> list[np.ndarray]:
        """What counts of these, (B, H, W, 1) float32; none of them where all does."""
        if self._caches["select"].ignored is None:
            return []
        sampler = self._sampler("select", stage, _SELECT, counted=True)
        return [x.numpy() for _, x in sampler.batches(0, VALIDATION_BATCHES)]

    def clean(self, stage: Stage) -> Iterator[tf.Tensor]:
        """Clean training images, always the same, of a stage's sizes."""
        sampler = self._sampler("train", stage, _STATISTICS)
        for _, x in sampler.batches(0, STATISTICS_BATCHES):
            yield x

    def _sampler(self, split: str, stage: Stage, *purpose: int, counted: bool = False) -> Sampler:
        """Samples images of a split, or what counts of them, in the same order and turned alike."""
        which: Sequence[int] | None = None
        if counted:
            images, which = self._counted(split, stage.size)
        else:
            images = self._images(split, stage.size)
        seed = (self._config.training.seed, *purpose)
        return Sampler(images, stage.batch_size, self._config.data, seed, which)

    def _images(self, split: str, side: int) -> np.ndarray:
        """Images of a split as squares of a side, made once."""
        key = (split, side)
        if key not in self._resized:
            self._resized[key] = self._caches[split].resized(side, side)
        return self._resized[key]

    def _counted(self, split: str, side: int) -> tuple[np.ndarray, list[int]]:
        cache = self._caches[split]
        assert cache.ignored is not None
        return counted_in(cache.sizes, cache.ignored, (side, side))


def _white(image: np.ndarray) -> float:
    return 255.0 if image.dtype == np.uint8 else 1.0
