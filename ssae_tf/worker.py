"""What the workers of a cluster do that are not its chief: they train along, and write nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig
from ssae_tf.data.mvtec import load_category
from ssae_tf.ignore_mask import own_ignore_mask, read_ignore_mask
from ssae_tf.preparation import prepare
from ssae_tf.progress import Reporter
from ssae_tf.run_data import category_at, own_category
from ssae_tf.run_folder import CONFIG_FILE, beside, has_checkpoint, is_finished, read_mark
from ssae_tf.run_making import is_to_become
from ssae_tf.training.loop import Trainer
from ssae_tf.warm_start import initial_weights


def assist_fit(
    data: str | Path,
    category: str | None,
    config: RunConfig,
    *,
    minutes: float | None,
    strategy: tf.distribute.Strategy,
    reporter: Reporter,
) -> None:
    """Trains along with the chief's `fit`.

    Args:
        strategy: the cluster, as `ssae_tf.training.replicas.strategy_for` gives it.

    Raises:
        DataError: images are missing or unusable.
        WorkerLost: another worker has ended before.
        TrainingInterrupted: Ctrl-C, SIGTERM or SIGHUP.
    """
    loaded = load_category(data, category)
    config = dataclasses.replace(config, category=loaded.name)
    ignore = config.scoring.ignore
    mask = None if ignore is None else read_ignore_mask(ignore)
    prepared = prepare(loaded, config, reporter, mask)
    config = prepared.config
    start = initial_weights(config)
    trainer = Trainer(prepared.train, prepared.select, config, reporter, strategy, start)
    trainer.fit_to_time(None if minutes is None else 60.0 * minutes)
    # Not even read: a training from its first step.
    trainer.train(Path())


def assist_resume(
    folder: str | Path,
    *,
    data: str | Path | None,
    strategy: tf.distribute.Strategy,
    reporter: Reporter,
) -> None:
    """Trains along with the chief's `resume`; the folder must be where the chief has it.

    Raises:
        RunError, DataError, WorkerLost, TrainingInterrupted: as `assist_fit`, and where there is
            nothing to go on from.
    """
    folder = Path(folder)
    new, _ = beside(folder)
    place = new if is_to_become(new, folder) else folder
    if is_finished(place):
        return
    mark = read_mark(place)
    if not has_checkpoint(place) and mark is not None and mark.request is not None:
        _assist_anew(mark.request, data, strategy, reporter)
        return
    config = config_module.load(place / CONFIG_FILE)
    category = category_at(data, place, config) if data else own_category(place, config)
    prepared = prepare(category, config, reporter, own_ignore_mask(place, config.scoring))
    trainer = Trainer(prepared.train, prepared.select, prepared.config, reporter, strategy)
    trainer.train(place, resume=True)


def _assist_anew(
    request: dict[str, Any],
    data: str | Path | None,
    strategy: tf.distribute.Strategy,
    reporter: Reporter,
) -> None:
    """What the chief asked for, and was stopped before its first checkpoint."""
    assist_fit(
        data or request["data"],
        request["category"],
        config_module.from_dict(request["config"]),
        minutes=request["minutes"],
        strategy=strategy,
        reporter=reporter,
    )
