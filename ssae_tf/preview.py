"""Corrupted training images, to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssae_tf.config import RunConfig
from ssae_tf.corruption.corrupt import corrupt
from ssae_tf.data.mvtec import load_category
from ssae_tf.data.pipeline import Sampler
from ssae_tf.evaluation.sheets import write_grid
from ssae_tf.ignore_mask import check_ignored, read_ignore_mask
from ssae_tf.preparation import decoded
from ssae_tf.progress import Reporter
from ssae_tf.run_data import told
from ssae_tf.scoring.ignored import counted_in, ignored_of
from ssae_tf.training.step import corruption_seed


def preview(
    data: str | Path,
    category: str | None,
    config: RunConfig,
    out: str | Path,
    rows: int = 8,
    *,
    reporter: Reporter | None = None,
) -> Path:
    """Writes a sheet of corrupted training images: X, X̂, M and |X̂ − X|, and what is ignored.

    All of them are corrupted, also where training leaves some whole (`corruption.share`), unless it
    leaves all.

    Args:
        data, category: as in `fit`.
        config: the augmentations and the corruption to show.
        out: folder of the sheet.
        rows: images on it.
        reporter: where progress goes; None for stderr.

    Returns:
        The file, `preview.png`.

    Raises:
        DataError: images are missing or unusable.
    """
    reporter = reporter or Reporter()
    source = config.scoring.ignore
    ignored = ignored_of(config.scoring, None if source is None else read_ignore_mask(source))
    # As many images as rows are enough, and large data sets take long to decode.
    samples = told(load_category(data, category), reporter).train[:rows]
    cache = decoded(samples, config, "training", reporter)
    stage = config.training.stages[-1]
    size = (stage.size, stage.size)

    def batch(images: np.ndarray, which: Sequence[int] | None = None) -> tf.Tensor:
        sampler = Sampler(images, rows, config.data, (config.training.seed,), which)
        ((_, x),) = sampler.batches(0, 1)
        return x

    counted = []
    if ignored is not None:
        check_ignored(ignored, cache.paths_by_size, config)
        counted = [batch(*counted_in(cache.sizes, ignored, size))]
    x = batch(cache.resized(*size))
    shown = dataclasses.replace(config.corruption, share=float(config.corruption.share > 0))
    x_hat, mask = corrupt(x, corruption_seed(config, tf.constant(0)), shown, *counted)
    path = Path(out) / "preview.png"
    write_grid(
        path,
        {
            "$X$": x.numpy(),
            r"$\hat{X}$": x_hat.numpy(),
            "$M$": mask.numpy()[..., 0] > 0,
            r"$|\hat{X} - X|$": np.abs(x_hat - x).mean(axis=-1),
            **({"ignored": counted[0].numpy()[..., 0] == 0} if counted else {}),
        },
    )
    return path
