"""What the labels themselves would bring: a bound for finding regions with local statistics.

A detector sees no defect before it is done. Here trees and a small network are trained to find the
defective regions of some test pictures from the numbers that local statistics describe places with,
and measured on the other test pictures, beside the distances of the run, which know no label. If
the labels of other pictures bring no more than the distances, it isn't the way in which distances
are taken that limits them.

One object may be in several pictures. They are taken for pictures of one where the masks share more
than half of their area; once pictures alone are kept apart, and once such objects.

    python benchmarks/labels.py RUN [--folds 4] [--steps 700] [--seed 0] [--out FILE.json]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from figures import print_metrics, write_result
from scipy.sparse.csgraph import connected_components
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from ssae_tf import workflow
from ssae_tf.data.images import read_image
from ssae_tf.data.mvtec import read_sample_mask
from ssae_tf.detector import Detector
from ssae_tf.local_statistics import CELLS
from ssae_tf.progress import Reporter

# Masks and maps are compared in this size, pixels.
SIDE = 128
# Share of the area of two masks together that pictures of one object have in common.
SAME_OBJECT = 0.5
WIDTH, BATCH, RATE = 32, 16, 2e-3
FIGURES = ("pixel_auroc", "within_pictures", "image_auroc")

Learner = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def pictures(run: Path, detector: Detector, reporter: Reporter) -> tuple[np.ndarray, np.ndarray]:
    """The run's test pictures that have a mask.

    Returns:
        Their numbers, (N, CELLS, CELLS, features) float32, and masks, (N, SIDE, SIDE) bool.
    """
    samples = workflow.run_split(run, detector.config)[0].test
    features, masks = [], []
    with reporter.task("Describing test pictures", len(samples)) as task:
        for sample in samples:
            picture = read_image(sample.path, detector.config.data.white_level)
            mask = read_sample_mask(sample, picture.shape[:2])
            if mask is not None:
                masks.append(_resized(mask, SIDE) >= 0.5)
                features.append(detector.describe(picture))
            task.advance()
    return np.stack(features), np.stack(masks)


def objects(masks: np.ndarray) -> np.ndarray:
    """For each picture the number of the object in it, (N,) int."""
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    common = flat @ flat.T
    area = np.diag(common)
    both = area[:, None] + area - common
    return np.asarray(connected_components(common > SAME_OBJECT * np.maximum(both, 1.0))[1])


def trees(seen: np.ndarray, shares: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Gradient-boosted trees, cell by cell: (N, CELLS, CELLS) of logits for `unseen`."""
    count = seen.shape[-1]
    classifier = HistGradientBoostingClassifier(max_iter=80, random_state=0)
    classifier.fit(seen.reshape(-1, count), shares.ravel() > 0.5)
    found = classifier.decision_function(unseen.reshape(-1, count))
    return np.asarray(found, np.float32).reshape(unseen.shape[:-1])


def network(steps: int, seed: int) -> Learner:
    """A convolutional network over the grid of cells, which sees the whole picture."""

    def learner(seen: np.ndarray, shares: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        tf.keras.utils.set_random_seed(seed)
        layers = tf.keras.layers
        inputs = layers.Input((CELLS, CELLS, seen.shape[-1]))
        x = layers.Conv2D(WIDTH, 1, activation="relu")(layers.Dropout(0.2)(inputs))
        for dilation in (1, 2, 4):
            around = {"padding": "same", "dilation_rate": dilation, "activation": "relu"}
            y = layers.Conv2D(WIDTH, 3, **around)(x)
            whole = layers.Dense(WIDTH)(layers.GlobalAveragePooling2D()(y))
            y = layers.Conv2D(WIDTH, 1)(y)
            x = layers.Add()([x, y, layers.Reshape((1, 1, WIDTH))(whole)])
        x = layers.Dropout(0.3)(layers.Activation("relu")(x))
        model = tf.keras.Model(inputs, layers.Conv2D(1, 1)(x))
        rate = tf.keras.optimizers.schedules.CosineDecay(RATE, steps)
        optimizer = tf.keras.optimizers.AdamW(rate, weight_decay=1e-3)

        @tf.function
        def step(x: tf.Tensor, y: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                logits = model(x, training=True)[..., 0]
                loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(y, logits))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

        rng = np.random.default_rng(seed)
        for _ in range(steps):
            chosen = rng.choice(len(seen), min(BATCH, len(seen)), replace=False)
            x, y = seen[chosen], shares[chosen]
            if rng.random() < 0.5:
                x, y = x[:, :, ::-1], y[:, :, ::-1]
            step(tf.constant(x), tf.constant(y))
        parts = range(0, len(unseen), BATCH)
        return np.concatenate([model(unseen[i : i + BATCH])[..., 0].numpy() for i in parts])

    return learner


def measured(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """Figures of maps over cells, grown to the masks' size."""
    grown = np.stack([_resized(map_, SIDE) for map_ in maps])
    partly = [i for i, mask in enumerate(masks) if mask.any() and not mask.all()]
    within = [roc_auc_score(masks[i].ravel(), grown[i].ravel()) for i in partly]
    return {
        "pixel_auroc": float(roc_auc_score(masks.ravel(), grown.ravel())),
        "within_pictures": float(np.mean(within)),
        "image_auroc": float(roc_auc_score(masks.any(axis=(1, 2)), grown.max(axis=(1, 2)))),
    }


def _resized(plane: np.ndarray, side: int) -> np.ndarray:
    plane = plane.astype(np.float32)
    shrunk = min(plane.shape) > side
    method = cv2.INTER_AREA if shrunk else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, (side, side), interpolation=method))


def main() -> None:
    """Prints a Markdown table, and writes the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    reporter = Reporter()
    detector = Detector.load(arguments.run)
    statistics = detector.statistics
    if statistics is None:
        parser.error(f"{arguments.run} has no local statistics (scoring.local_statistics)")
    features, masks = pictures(arguments.run, detector, reporter)
    shares = np.stack([_resized(mask, CELLS) for mask in masks])
    distances = statistics.distance(tf.constant(features)).numpy()
    # In units of what is usual at each place, for the learners.
    spread = np.linalg.inv(statistics.whitening.astype(np.float64))
    spread = np.sqrt(np.square(spread).sum(axis=-2) + 1e-3)
    scaled = ((features - statistics.mean) / spread).astype(np.float32)

    results: dict[str, Any] = {"distances of the run, no labels": measured(distances, masks)}
    apart = {"pictures": np.arange(len(masks)), "objects": objects(masks)}
    learners = {"trees": trees, "network": network(arguments.steps, arguments.seed)}
    turns = len(apart) * len(learners) * arguments.folds
    with reporter.task("Learning from labels", turns) as task:
        for what, groups in apart.items():
            for name, learner in learners.items():
                found = np.empty(shares.shape, np.float32)
                for seen, unseen in GroupKFold(arguments.folds).split(scaled, groups=groups):
                    found[unseen] = learner(scaled[seen], shares[seen], scaled[unseen])
                    task.advance()
                results[f"{name}, {what} apart"] = measured(found, masks)
    print_metrics("what finds regions", results, FIGURES)
    content = {
        "n_pictures": len(masks),
        "n_objects": int(apart["objects"].max()) + 1,
        "results": results,
    }
    write_result(arguments.out, content, RUN=arguments.run)


if __name__ == "__main__":
    main()
