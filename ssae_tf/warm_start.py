"""Going on from a finished run with new good images: its settings and weights are the start."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ssae_tf import config as config_module
from ssae_tf.config import ModelConfig, RunConfig
from ssae_tf.data.images import read_pixels
from ssae_tf.detector import run_config
from ssae_tf.errors import ConfigError, DataError
from ssae_tf.run_folder import GOLDEN_FOLDER, GOLDEN_IMAGES, IGNORE_FILE, WEIGHTS_FILE


def settings_of(run: str | Path) -> RunConfig:
    """The settings of a run, to go on from its weights with.

    Raises:
        RunError, ConfigError: it is no such folder.
    """
    folder = Path(run).resolve()
    config = run_config(folder)
    if config.scoring.ignore is not None:
        # The mask it was asked for with may have changed since.
        config = config_module.override(config, {"scoring.ignore": str(folder / IGNORE_FILE)})
    return dataclasses.replace(config, weights_from=str(folder))


def wanted(config: RunConfig | None, category: str, weights_from: str | Path | None) -> RunConfig:
    """The settings of a training.

    Args:
        config: what is given; None for the default preset, or for those of `weights_from`.
        weights_from: a finished run; None for what `config` has.

    Raises:
        RunError, ConfigError: there is no such run, or its network is another.
    """
    if config is None and weights_from is not None:
        config = settings_of(weights_from)
    config = config or config_module.preset(config_module.DEFAULT_PRESET, category)
    if weights_from is not None:
        config = dataclasses.replace(config, weights_from=str(weights_from))
    config = dataclasses.replace(config, category=category)
    if config.weights_from is not None:
        check_network(config)
    return config


def check_network(config: RunConfig) -> None:
    """Compares the network of settings with that of the run that they start from.

    Raises:
        RunError: `weights_from` is no finished run.
        ConfigError: its network is another.
    """
    assert config.weights_from is not None
    was = run_config(Path(config.weights_from)).model
    for field in dataclasses.fields(ModelConfig):
        before, now = getattr(was, field.name), getattr(config.model, field.name)
        if before != now:
            raise ConfigError(
                f"`model.{field.name}` can't change with the weights of {config.weights_from}. "
                f"Expected {before!r}, as there. Received: {now!r}."
            )


def initial_weights(config: RunConfig) -> Path | None:
    """The file of the weights that training starts from; None for random ones."""
    return None if config.weights_from is None else Path(config.weights_from) / WEIGHTS_FILE


def check_channels(run: Path, images: Iterable[np.ndarray], place: Path) -> None:
    """Compares new images with the golden ones of the run that training starts from.

    Args:
        run: its folder; one without golden images is not compared with.
        images: the new ones, (H, W, 3).
        place: where these are.

    Raises:
        DataError: all of one are grey and all of the other in colour.
    """
    golden = [run / GOLDEN_FOLDER / good for good, _ in GOLDEN_IMAGES]
    before = {_channels(read_pixels(path)) for path in golden if path.is_file()}
    now = {_channels(image) for image in images}
    if before and not before & now:
        raise DataError(
            f"{place}: images with {now.pop()} of colour; expected {before.pop()}, as {run} was "
            "trained on."
        )


def _channels(image: np.ndarray) -> str:
    is_grey = (image == image[..., :1]).all()
    return "1 channel" if is_grey else "3 channels"
