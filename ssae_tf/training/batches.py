"""The pictures of a training: to learn from, to judge with, and for batch statistics.

Which they are follows from the seed, the purpose and the step alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf.config import RunConfig, Stage
from ssae_tf.data.cache import PictureCache
from ssae_tf.data.pipeline import CropSampler, training_batches
from ssae_tf.training.step import corrupt_in_pipeline

JUDGED_BATCHES = 4
STATISTICS_BATCHES = 16

# Purposes of random numbers: apart from each other whatever the seed.
_TRAIN, _SELECT, _STATISTICS = 1, 2, 3


class Batches:
    """Makes the batches of one training from the decoded pictures of two splits."""

    def __init__(self, train: PictureCache, select: PictureCache, config: RunConfig) -> None:
        """Keeps what batches are made from.

        Args:
            train: pictures to learn from.
            select: pictures to choose the checkpoint with.
            config: the seed, the sampling and augmentations, and where pictures are corrupted.
        """
        self._caches = {"train": train, "select": select}
        self._config = config
        self._sizes: dict[tuple[Any, ...], list[np.ndarray]] = {}

    @functools.cached_property
    def mean_colour(self) -> np.ndarray:
        """(3,) in [0, 1], over all training pictures, each with the same weight."""
        pictures = self._caches["train"].pictures
        return np.mean([p.mean(axis=(0, 1)) / _white(p) for p in pictures], axis=0)

    def training(
        self, index: int, stage: Stage, first: int, begin: int, end: int
    ) -> tf.data.Dataset:
        """The batches of some steps of a stage.

        Args:
            index: of the stage.
            stage: its picture size and batch size.
            first: the stage's first step; like the next two counted over all stages.
            begin, end: the steps begin … end − 1.

        Returns:
            A data set of (step, X), or of (step, X, X̂, M) if `corruption.where` is "data".
        """
        sampler = self._sampler("train", stage, _TRAIN, index)
        batches = training_batches(sampler, begin - first, end - first)
        batches = batches.map(lambda step, x: (step + first, x))
        if self._config.corruption.where == "data":
            batches = corrupt_in_pipeline(batches, self._config)
        return batches

    def judged(self, stage: Stage, scale: int | None = None) -> list[np.ndarray]:
        """Clean pictures of the *select* split, always the same, of a stage's sizes.

        Args:
            stage: its picture size and batch size.
            scale: one of `scoring.scales`, which all of them are from; None for any.
        """
        sampler = self._sampler("select", stage, _SELECT, scale=scale)
        return [sampler.batch(k) for k in range(JUDGED_BATCHES)]

    def clean(self, stage: Stage) -> Iterator[tf.Tensor]:
        """Clean training pictures, always the same, of a stage's sizes."""
        sampler = self._sampler("train", stage, _STATISTICS)
        for k in range(STATISTICS_BATCHES):
            yield tf.constant(sampler.batch(k))

    def _sampler(
        self, split: str, stage: Stage, *purpose: int, scale: int | None = None
    ) -> CropSampler:
        data, scoring = self._config.data, self._config.scoring
        seed = (self._config.training.seed, *purpose)
        if data.sampling == "resize":
            pictures = self._kept(split, "resized", stage.size, stage.size)
            return CropSampler(pictures, stage.size, stage.batch_size, data, seed)
        size = self._config.inspection_size
        scales = sorted(scoring.settled.scales) if scale is None else [scale]
        first, *others = ((s, self._kept(split, "shrunk", s, size)) for s in scales)
        return CropSampler(
            first[1],
            stage.size,
            stage.batch_size,
            data,
            seed,
            scoring.margin,
            smaller={s / first[0]: pictures for s, pictures in others},
        )

    def _kept(self, split: str, method: str, *size: Any) -> list[np.ndarray]:
        """Pictures of a split at another size, made once."""
        key = (split, method, size)
        if key not in self._sizes:
            self._sizes[key] = getattr(self._caches[split], method)(*size)
        return self._sizes[key]


def _white(picture: np.ndarray) -> float:
    return 255.0 if picture.dtype == np.uint8 else 1.0
