"""What goes before training: images split, checked and decoded, and what is said and recorded."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf import __version__
from ssae_tf import config as config_module
from ssae_tf.config import DOWNSAMPLING, RunConfig
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.images import image_size
from ssae_tf.data.large import cost_of_own_size, is_large, what_helps, what_is_lost
from ssae_tf.data.mvtec import Category, Sample, read_sample_mask
from ssae_tf.data.per_image import each, warn_of_skipped
from ssae_tf.data.split import Split, data_hash, split_normal
from ssae_tf.errors import DataError, count_of
from ssae_tf.ignore_mask import check_ignored
from ssae_tf.progress import Reporter, duration
from ssae_tf.run_data import told
from ssae_tf.runtime.machine import machine
from ssae_tf.scoring.ignored import ignored_of

# From how many warnings about a folder on a look at the whole of it helps more.
_MANY_WARNINGS = 4


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What training takes.

    Attributes:
        category: the category without the images that are left out.
        split: its parts, likewise.
        train, select: the decoded images of these parts.
        config: the settings, with what waited for the size of the images.
    """

    category: Category
    split: Split
    train: ImageCache
    select: ImageCache
    config: RunConfig
    ignore_mask: np.ndarray | None = None


def prepare(
    category: Category, config: RunConfig, reporter: Reporter, ignore_mask: np.ndarray | None = None
) -> Prepared:
    """Splits, checks and decodes the images of a category.

    Raises:
        DataError: one of the images or masks can't be used, and is not to be left out; or what is
            to be ignored does not fit the images.
    """
    told(category, reporter)
    settings = config.data
    split = split_normal(
        category,
        config.training.seed,
        settings.select_fraction,
        settings.calibrate_fraction,
        settings.group,
    )
    for note in split.notes:
        reporter.warn(note)
    if len(category.warnings) >= _MANY_WARNINGS:
        reporter.say(
            f"`ssae-tf check {shlex.quote(str(category.root))}` says what to do about them."
        )

    caches = {
        name: decoded(getattr(split, name), config, name, reporter) for name in ("train", "select")
    }
    # What only the end needs is looked at as well: hours of training should not end in an error.
    late = {"calibration": split.calibrate, "test": category.test}
    sizes: dict[tuple[int, int], Path] = {}
    checked = {name: _checked(late[name], config, name, reporter, sizes) for name in late}
    warn_of_skipped(
        [message for cache in caches.values() for message in cache.skipped]
        + [message for _, messages in checked.values() for message in messages],
        reporter,
    )
    category = dataclasses.replace(category, test=checked["test"][0])
    split = dataclasses.replace(
        split,
        train=tuple(caches["train"].samples),
        select=tuple(caches["select"].samples),
        calibrate=checked["calibration"][0],
    )
    if not split.calibrate:
        raise DataError(f"{category.root}: none of the calibration images can be used.")
    images = caches["train"].images
    place = "in memory" if caches["train"].location == "memory" else "on disk"
    good = len({*split.train, *split.select, *split.calibrate})
    reporter.say(
        f"{category.name}: {count_of(good, 'good image')} ({len(split.train)} train, "
        f"{len(split.select)} select, {len(split.calibrate)} calibrate), {len(category.test)} "
        f"test; decoded images are kept {place}."
    )
    ignored = ignored_of(config.scoring, ignore_mask)
    for cache in caches.values():
        cache.ignored = ignored
    if ignored is not None:
        for cache in caches.values():
            sizes |= cache.paths_by_size
        reporter.say(check_ignored(ignored, sizes, config))
    _tell_of_large(caches["train"].sizes, config, reporter)
    settled = config_module.for_few(config, len(images))
    if settled != config:
        own = "and normalises each image by itself (model.normalization group)"
        reporter.say(
            f"Of {len(images)} images the network would learn light and statistics by heart: it "
            "trains without relief (corruption.relief 0)"
            f"{f' {own}' if settled.model != config.model else ''}."
        )
    config = config_module.resolve(settled, _side(settled, caches["train"].sizes))
    return Prepared(category, split, caches["train"], caches["select"], config, ignore_mask)


def _tell_of_large(sizes: Sequence[tuple[int, int]], config: RunConfig, reporter: Reporter) -> None:
    """Says what images of many megapixels lose, or cost."""
    height, width = (int(side) for side in np.median(sizes, axis=0))
    if not is_large((height, width)):
        return
    inspected = config.inspection_size
    if inspected is not None:
        reporter.say(what_is_lost((height, width), inspected))
        reporter.say(what_helps((height, width), inspected))
    else:
        reporter.warn(cost_of_own_size((height, width), config.training.stages[-1].size))


def _side(config: RunConfig, sizes: Sequence[tuple[int, int]]) -> float:
    """Shorter side of a typical image as the network will see it, pixels."""
    inspected = config.inspection_size
    return float(np.median([min(inspected or size) for size in sizes]))


def _checked(
    samples: Sequence[Sample],
    config: RunConfig,
    name: str,
    reporter: Reporter,
    sizes: dict[tuple[int, int], Path],
) -> tuple[tuple[Sample, ...], list[str]]:
    """The samples whose image and mask can be used, and sentences about the others.

    Their sizes are added to `sizes`.
    """

    def check(sample: Sample) -> Sample:
        size = image_size(sample.path)
        read_sample_mask(sample, size)
        sizes[size] = sample.path
        return sample

    with reporter.task(f"Checking {name} images", len(samples)) as task:
        usable, messages = each(check, samples, task, config.data.skip_unreadable)
    return tuple(usable), messages


def decoded(
    samples: Sequence[Sample], config: RunConfig, name: str, reporter: Reporter
) -> ImageCache:
    """The images of one part of a split, decoded; `name` is the part's, for progress."""
    settings = config.data
    side = max(stage.size for stage in config.training.stages)
    with reporter.task(f"Reading {name} images", len(samples)) as task:
        return ImageCache(
            samples,
            white_level=settings.white_level,
            location=settings.cache,
            skip_unreadable=settings.skip_unreadable,
            smallest_side=DOWNSAMPLING,
            largest=(side, side),
            on_image=task.advance,
        )


def announce(config: RunConfig, seconds: float, minutes: float | None, reporter: Reporter) -> None:
    """One line before a long wait: how long, and what would shorten it."""
    shorter = []
    if minutes is None:
        shorter.append("--minutes N")
    if config.preset != "quick":
        shorter.append("--preset quick")
    if config.model.width > 0.125:
        shorter.append("a smaller --set model.width")
    if not tf.config.list_physical_devices("GPU"):
        shorter.append("a GPU")
    sizes = " → ".join(f"{stage.size}²" for stage in config.training.stages)
    steps = count_of(config.training.steps, "step")
    reporter.say(
        f"Training takes about {duration(seconds)}: {steps} at {sizes}, "
        f"width {config.model.width:g}. Shorter with {', '.join(shorter)}."
    )


def environment(category: Category, data: Path) -> dict[str, Any]:
    """What a result depends on beside the settings."""
    return {
        "schema_version": 1,
        "ssae_tf": __version__,
        **machine(),
        # tf.keras.__version__ is missing in Keras 2.15.
        "keras": importlib.metadata.version("keras"),
        "numpy": np.__version__,
        "command": sys.argv,
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "data": str(data.resolve()),
        "data_hash": data_hash(category),
    }
