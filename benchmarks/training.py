"""What a training step costs beside the network: corruption, objective and the input pipeline.

The whole step and the plain one (the same network and optimiser, squared error on pictures that
were corrupted before) run in turn in one process. Beside them: the pipeline alone, from PNG files
that the cache has decoded and keeps in memory or on disk; and elastic deformation per picture,
beside albumentations' with the same sigma and alpha where that is installed (`pip install
albumentations`).

    python benchmarks/training.py [--widths 0.25 1] [--side 128] [--batch 8] [--rounds 9]
        [--out FILE.json]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from figures import write_result
from interleaved import in_turn
from surfaces import random_surface

from ssae_tf.config import CorruptionConfig, RunConfig, override, preset
from ssae_tf.corruption.corrupt import corrupt
from ssae_tf.data.cache import PictureCache
from ssae_tf.data.mvtec import Sample
from ssae_tf.data.pipeline import CropSampler, training_batches
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.training.step import corruption_seed, make_step

# Of the crops that the pipeline and the deformation are timed on, pixels; and how many.
_SIDE, _CROPS = 256, 480
_PICTURES = 32


def steps(config: RunConfig, x: np.ndarray, rounds: int) -> dict[str, float]:
    """Seconds of a step with corruption and objective, of a plain one, and of corruption alone."""
    model = autoencoder(config.model, training_size=x.shape[1])
    optimizer = tf.keras.optimizers.Adam(1e-5)
    optimizer.build(model.trainable_variables)
    whole = make_step(model, optimizer, config)
    pictures, index = tf.constant(x), tf.constant(0, tf.int64)
    alone = tf.function(
        lambda y: corrupt(y, corruption_seed(config, index), config.corruption), autograph=False
    )
    corrupted = alone(pictures)[0]

    @tf.function(autograph=False)
    def plain(clean: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(given, training=True) - clean))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return in_turn(
        {
            "whole step": lambda: float(whole(index, pictures)[0]),
            "plain step": lambda: float(plain(pictures, corrupted)),
            "corruption alone": lambda: alone(pictures)[0].numpy(),
        },
        rounds,
    )


def cached(pictures: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What the cache keeps of PNG files of the pictures, by where it keeps it."""
    with tempfile.TemporaryDirectory() as folder:
        samples = [Sample(Path(folder) / f"{k}.png", "good") for k in range(len(pictures))]
        for sample, picture in zip(samples, pictures, strict=True):
            cv2.imwrite(str(sample.path), picture)
        return {
            "memory": PictureCache(samples, location="memory").pictures,
            "disk": PictureCache(samples, location="disk").pictures,
        }


def pipeline(config: RunConfig, pictures: list[np.ndarray], batch: int) -> float:
    """Crops of 256² a second, from the cache to batches, without a step."""
    sampler = CropSampler(pictures, _SIDE, batch, config.data, (0,), config.scoring.margin)
    count = _CROPS // batch
    list(training_batches(sampler, 0, 2))
    begin = time.perf_counter()
    for _ in training_batches(sampler, 0, count):
        pass
    return count * batch / (time.perf_counter() - begin)


def deformation(config: RunConfig, pictures: list[np.ndarray], rounds: int) -> dict[str, float]:
    """Milliseconds that elastic deformation takes for a picture of 256², by name."""
    settings = config.corruption
    sigma, alpha = (float(np.mean(pair)) for pair in (settings.sigma, settings.alpha))
    elastic = CorruptionConfig(sigma=(sigma, sigma), alpha=(alpha, alpha))
    x = np.stack([picture[:_SIDE, :_SIDE] for picture in pictures[:8]])
    given = tf.constant(x.astype(np.float32) / 255.0)
    seed = tf.constant((0, 0))
    ours = tf.function(lambda y: corrupt(y, seed, elastic), autograph=False)
    runs: dict[str, Callable[[], object]] = {"ssae_tf": lambda: ours(given)[0].numpy()}
    try:
        import albumentations
    except ImportError:
        pass
    else:
        theirs = albumentations.ElasticTransform(alpha=alpha, sigma=sigma, p=1.0)
        singles = list(x.astype(np.float32) / 255.0)
        runs["albumentations"] = lambda: [theirs(image=one)["image"] for one in singles]
    return {name: 1e3 * value / len(x) for name, value in in_turn(runs, rounds).items()}


def main() -> None:
    """Prints Markdown tables, and keeps the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--widths", type=float, nargs="+", default=[0.25, 1.0])
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    pictures = [random_surface(rng, 2 * _SIDE) for _ in range(_PICTURES)]
    side, batch = arguments.side, arguments.batch
    x = np.stack([pictures[k][:side, :side] for k in range(batch)]).astype(np.float32) / 255.0
    quick = preset("quick")
    results: dict[str, Any] = {}
    print("| width | whole step, s | plain step, s | more | corruption alone, s |")
    print("|---" * 5 + "|")
    for width in arguments.widths:
        found = steps(override(quick, {"model.width": width}), x, arguments.rounds)
        results[f"{width:g}"] = found
        more = found["whole step"] / found["plain step"] - 1.0
        print(
            f"| {width:g} | {found['whole step']:.3f} | {found['plain step']:.3f} "
            f"| {100 * more:.1f} % | {found['corruption alone']:.3f} |",
            flush=True,
        )
    crops = {
        place: statistics.median(pipeline(quick, kept, batch) for _ in range(3))
        for place, kept in cached(pictures).items()
    }
    for place, rate in crops.items():
        print(f"Pipeline alone, PNGs cached in {place}: {rate:.0f} crops of {_SIDE}² a second")
    warps = deformation(quick, pictures, arguments.rounds)
    for name, value in warps.items():
        print(f"Elastic deformation of a picture of {_SIDE}², {name}: {value:.1f} ms")
    content = {
        "steps_seconds": results,
        "crops_per_second": crops,
        "deformation_milliseconds": warps,
    }
    write_result(arguments.out, content)


if __name__ == "__main__":
    main()
