"""What each part of a detector is worth: the same run without it, measured on the same test set.

A part left out changes what the others see. In every row all that is estimated from normal images
is therefore estimated anew from the run's own, and the threshold is set anew on the run's own
calibration images; no row sees more of the test set than the run did.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssae_tf import config as config_module
from ssae_tf.calibration import calibrated
from ssae_tf.config import RunConfig
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.images import decoded_once
from ssae_tf.detector import Detector
from ssae_tf.evaluation import tables
from ssae_tf.evaluation.run import check_test_set, measure_test_set
from ssae_tf.models.gated import Blend
from ssae_tf.models.keras_defaults import keras_defaults
from ssae_tf.preparation import decoded
from ssae_tf.progress import Reporter
from ssae_tf.recalibration import chosen
from ssae_tf.run_data import CalibrationImages, run_split, tested_category
from ssae_tf.training.loop import Trainer

FIGURES = (*tables.FIGURES, "threshold")
"""What is kept of a row's `Evaluation.metrics`."""


class Source:
    """A finished run: its detector and normal images, as rows are made from them.

    Attributes:
        detector: as it was saved.
        split: the run's normal images, without those that its calibration leaves out.
        reporter: where progress goes.
    """

    def __init__(self, folder: Path, reporter: Reporter, data: str | Path | None = None) -> None:
        """Opens a run folder; its images may have moved to `data`.

        Raises:
            RunError, DataError: as `Detector.load` and `run_split` do.
        """
        self.detector = Detector.load(folder)
        split = run_split(folder, self.detector.config, data)[1]
        images = CalibrationImages(split.calibrate, split.train, split.root, is_own=True)
        kept, _ = chosen(images, self.detector.calibrated().left_out)
        self.split = dataclasses.replace(split, calibrate=tuple(kept))
        self.reporter = reporter

    @functools.cached_property
    def caches(self) -> tuple[ImageCache, ImageCache]:
        """The images to train on and to select with, decoded."""
        parts = {"train": self.split.train, "select": self.split.select}
        config, reporter = self.detector.config, self.reporter
        train, select = (decoded(parts[n], config, n, reporter) for n in parts)
        return train, select

    def build(self, config: RunConfig, network: Network | None = None) -> Detector:
        """A detector of other settings, with all that is estimated from normal images.

        Args:
            config: the run's settings with some changed that do not change the network.
            network: makes what stands in the network's place; None for the run's own.
        """
        own, split = self.detector, self.split
        if network is None:
            detector = own.replace(config=config)
        else:
            detector = Detector(network(self, config), config, ignore_mask=own.ignore_mask)
        return calibrated(
            detector, split.calibrate, self.reporter, seen=split.train, root=split.root
        )


Network = Callable[[Source, RunConfig], tf.keras.Model]


@keras_defaults()
def identity(source: Source, config: RunConfig) -> tf.keras.Model:
    """F(X) = X; of a gated network A is 0 and G(X) is X."""
    inputs = tf.keras.Input((None, None, source.detector.model.inputs[0].shape[-1]))
    if config.model.answer == "gated":
        closed = tf.keras.layers.Conv2D(1, 1, kernel_initializer="zeros")(inputs)
        outputs = Blend()([inputs, closed, inputs])
    else:
        outputs = tf.keras.layers.Activation("linear")(inputs)
    return tf.keras.Model(inputs, outputs, name="identity")


def untrained(source: Source, config: RunConfig) -> tf.keras.Model:
    """The network with the initial weights of the run's seed."""
    return Trainer(*source.caches, config, source.reporter).model


@dataclass(frozen=True)
class Row:
    """A detector that differs from the run's.

    Attributes:
        name: key of ablation.json.
        sentence: what the row is, for people.
        changes: dotted setting -> its value in this row; none that changes the network.
        network: makes what stands in the network's place; None for the run's own.
        always: there even where the row does not differ from the run.
    """

    name: str
    sentence: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    network: Network | None = None
    always: bool = False

    def config(self, run: RunConfig) -> RunConfig:
        """The settings of the row for those of a run."""
        return config_module.override(run, dict(self.changes))


# One line adds or removes a row. A setting that ceases to exist also leaves `paper_map`.
ROWS = (
    Row("as_shipped", "the detector of the run folder", always=True),
    Row(
        "network",
        "the network's evidence alone: all the evidence that a detector has",
        always=True,
    ),
    Row(
        "paper_map",
        "the plain mean of |F(X) − X|, smoothed",
        {
            "scoring.evidence": "residual",
            "scoring.outline": None,
            "scoring.reading": "absolute",
            "scoring.test_time_augmentation": False,
        },
        always=True,
    ),
    Row("identity", "F(X) = X in the network's place", network=identity, always=True),
    Row("untrained", "the network before its first step", network=untrained, always=True),
    Row(
        "no_outline",
        "threshold and outlines where the highest normal image has them",
        {"scoring.outline": None},
    ),
    Row(
        "no_test_time_augmentation",
        "each image seen as it is, and not turned or mirrored as well",
        {"scoring.test_time_augmentation": False},
    ),
    Row("no_smoothing", "the map not smoothed", {"scoring.smoothing_sigma": 0.0}),
    Row("no_min_area", "a single pixel is a defect", {"min_area": 1}),
)


def rows_for(config: RunConfig, rows: Sequence[Row] = ROWS) -> list[Row]:
    """The rows that differ from a run of some settings, and those that are always there."""
    return [row for row in rows if row.always or row.network or row.config(config) != config]


@decoded_once()
def ablate(
    run: str | Path,
    *,
    data: str | Path | None = None,
    category: str | None = None,
    rows: Sequence[Row] = ROWS,
    reporter: Reporter | None = None,
) -> dict[str, dict[str, float | None]]:
    """Measures a run and what is left of it without each of its parts.

    Args:
        run: a finished run folder.
        data: a root in MVTec AD layout to test on; None for the one the run was trained on.
        category: None for the run's own.
        rows: what to measure; those that do not differ from the run are left out.
        reporter: where progress goes; None for stderr.

    Returns:
        For each row, by name, the values of `FIGURES`, None where one is undefined.

    Raises:
        RunError, DataError: the run or the images can't be used, or there are no test images.
    """
    reporter = reporter or Reporter()
    source = Source(Path(run), reporter, data)
    own = source.detector.config
    tested = tested_category(Path(run), own, data, category)
    check_test_set(tested, reporter)
    # Where a run has few parts, several rows are the same detector.
    done: dict[tuple[RunConfig, Network | None], dict[str, float | None]] = {}
    results = {}
    for row in rows_for(own, rows):
        key = row.config(own), row.network
        if key not in done:
            reporter.say(f"{row.name}: {row.sentence}.")
            with _retracing_not_told():
                detector = source.detector if key == (own, None) else source.build(*key)
                metrics, _ = measure_test_set(detector, tested, reporter)
            done[key] = {name: metrics[name] for name in FIGURES}
        results[row.name] = done[key]
    return results


@contextlib.contextmanager
def _retracing_not_told() -> Iterator[None]:
    """Mutes TensorFlow's warning of repeated tracing: every row is another detector."""

    def is_other(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
