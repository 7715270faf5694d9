"""How long one image takes, and which part of it: `ssae-tf latency`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich import box
from rich.table import Table

from ssae_tf.data.cache import resize
from ssae_tf.data.images import read_image, write_png
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, count_of
from ssae_tf.export.artefact import Artefact
from ssae_tf.ops.resampling import pad_reflect
from ssae_tf.progress import Reporter
from ssae_tf.result import post_process
from ssae_tf.runtime.machine import machine
from ssae_tf.sample_data.sample import draw_sample
from ssae_tf.scoring.anomaly_map import inspect
from ssae_tf.scoring.views import augmented, views

SCHEMA_VERSION = 1
PERCENTILES = (50, 95, 99)
# Rounds before the first that counts: functions are traced and memory is found.
_WARM_UP = 2
_SMALLEST = 32


def measure(
    detector: Detector | Artefact, size: tuple[int, int], rounds: int, reporter: Reporter
) -> dict[str, Any]:
    """Times an image of the sample surface, batch 1; all parts in turn in every round.

    Args:
        detector: a run's, or an artefact.
        size: (height, width) of the image, pixels, at least 32.
        rounds: that count, at least 1.
        reporter: where progress goes.

    Returns:
        The size, the machine, and for each part p50, p95 and p99 in seconds.

    Raises:
        DataError: a smaller size, or not the artefact's.
    """
    if min(size) < _SMALLEST:
        raise DataError(
            f"Expected an image of at least {_SMALLEST}×{_SMALLEST} pixels. Received: "
            f"{size[0]}×{size[1]}."
        )
    with tempfile.TemporaryDirectory(prefix="ssae_tf_") as folder:
        path = Path(folder) / "image.png"
        write_png(path, draw_sample("tile", "test", "crack", 0, size=size).image)
        parts = _parts(detector, path)
        seconds: dict[str, list[float]] = {name: [] for name in parts}
        reporter.say(
            f"Timing {', '.join(parts)}, in turn, on one image of {size[0]}×{size[1]}: "
            f"{count_of(rounds, 'round')} after {_WARM_UP} that don't count."
        )
        with reporter.task("Timing", rounds + _WARM_UP) as task:
            for index in range(rounds + _WARM_UP):
                for name, call in parts.items():
                    begin = time.perf_counter()
                    call()
                    if index >= _WARM_UP:
                        seconds[name].append(time.perf_counter() - begin)
                task.advance()
    return {
        "schema_version": SCHEMA_VERSION,
        "size": list(size),
        "rounds": rounds,
        "machine": machine(),
        "seconds": {
            name: {f"p{at}": float(np.percentile(times, at)) for at in PERCENTILES}
            for name, times in seconds.items()
        },
    }


def latency_table(measured: dict[str, Any]) -> Table:
    """The parts in milliseconds, with the machine below."""
    on = measured["machine"]
    height, width = measured["size"]
    table = Table(
        box=box.SIMPLE_HEAD,
        caption=f"{count_of(measured['rounds'], 'round')}, {on['processor']}, "
        f"{on['usable_cpus']} cores, TensorFlow {on['tensorflow']}",
        caption_justify="left",
    )
    table.add_column(f"{height}×{width}, ms")
    for at in PERCENTILES:
        table.add_column(f"p{at}", justify="right")
    *parts, whole = measured["seconds"].items()
    for name, values in parts:
        cells = [f"{1e3 * value:.1f}" for value in values.values()]
        table.add_row(name, *cells, end_section=name == parts[-1][0])
    table.add_row(whole[0], *(f"{1e3 * value:.1f}" for value in whole[1].values()), style="bold")
    return table


def _parts(detector: Detector | Artefact, path: Path) -> dict[str, Callable[[], object]]:
    """What is timed, by name; the last is `predict` as a whole."""
    # Also refuses an image of another size than the artefact's.
    result = detector.predict(path)
    x, map_, threshold = result.image, result.anomaly_map, result.threshold
    middle: dict[str, Callable[[], object]]
    if isinstance(detector, Artefact):
        white_level, min_area = detector.metadata["inputs"]["white_level"], detector.min_area
        outline = detector.outline
        middle = {"network and scoring": lambda: detector.run(x[None])}
    else:
        white_level = detector.config.data.white_level
        min_area = detector.calibrated().min_area
        outline = detector.config.scoring.outline
        middle = _network_and_scoring(detector, x)
    return {
        "decode": lambda: read_image(path, white_level),
        **middle,
        "post-processing": lambda: post_process("", x, None, map_, threshold, min_area, outline),
        "predict": lambda: detector.predict(path),
    }


def _network_and_scoring(detector: Detector, x: np.ndarray) -> dict[str, Callable[[], object]]:
    """The network, and everything around it with a network that does nothing."""
    config, size = detector.config, detector.inspection_size
    image = tf.constant((x if size is None else resize(x, *size))[None])
    counted = []
    if detector.ignored is not None:
        counted = [detector.ignored.at_size(*x.shape[:2], *image.shape[1:3])]
    seen = pad_reflect(augmented(image, views(config)), config.model.downsampling)
    channels = detector.model.output.shape[-1]

    def idle(x: tf.Tensor) -> tf.Tensor:
        # Not the image itself, whose residual would be a constant.
        return 0.5 * tf.tile(x, (1, 1, 1, 3))[..., :channels]

    @tf.function(
        autograph=False, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)]
    )
    def scoring(y: tf.Tensor) -> tf.Tensor:
        return inspect(idle, y, config, *counted)[1]

    return {
        "network": lambda: detector.network(seen).numpy(),
        "scoring": lambda: scoring(image).numpy(),
    }
