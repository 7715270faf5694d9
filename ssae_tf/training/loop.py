"""The training loop: stages of growing pictures, evaluations, checkpoints, interruption.

A training is a function of (pictures, settings): every batch and corruption follows from the seed
and the step, so that one taken up at a saved step goes the way of one that never stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import numpy as np
import tensorflow as tf

from ssae_tf.config import RunConfig, Stage
from ssae_tf.data.cache import PictureCache
from ssae_tf.data.pipeline import CropSampler, training_batches
from ssae_tf.errors import SsaeError
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.weights import load_weights, save_weights
from ssae_tf.progress import Reporter, Task
from ssae_tf.scoring import anomaly_map
from ssae_tf.training import normalization
from ssae_tf.training.logs import HistoryRow, TensorBoard, read_history, write_history
from ssae_tf.training.schedule import (
    estimated_seconds,
    evaluation_steps,
    freeze_step,
    learning_rate,
    scaled_to,
    stage_of,
)
from ssae_tf.training.selection import Judge
from ssae_tf.training.state import load_state, save_state
from ssae_tf.training.step import Figures, corrupt_in_pipeline, make_step

# Purposes of random numbers: apart from each other whatever the seed.
_TRAIN, _SELECT, _STATISTICS = 1, 2, 3
_JUDGED_BATCHES = 4
_STATISTICS_BATCHES = 16
_TIMED_STEPS = 3

STATE_FILE = "state.npz"
BEST_FILE = "best.npz"
HISTORY_FILE = "history.csv"


class TrainingInterrupted(SsaeError):
    """Ctrl-C, after everything was saved."""


class Trainer:
    """Trains one network on the pictures of one category."""

    def __init__(
        self,
        train: PictureCache,
        select: PictureCache,
        config: RunConfig,
        reporter: Reporter,
    ) -> None:
        """Builds the network and the pictures that judge it.

        Args:
            train: pictures to learn from.
            select: pictures to choose the checkpoint with.
            config: all settings.
            reporter: where progress goes.
        """
        self.config = config
        self.reporter = reporter
        self._train = train
        self._select = select
        self._sized: dict[tuple[int, int], Sequence[np.ndarray]] = {}
        self.model, self._optimizer = self._build()

    def fit_to_time(self, seconds: float | None) -> float:
        """Measures the pace of every stage, and sets the number of steps if a time is given.

        Args:
            seconds: that training should take; None leaves the steps as they are.

        Returns:
            The expected seconds of training.
        """
        pace, fixed = self._measure_pace()
        training = self.config.training
        if seconds is not None:
            training = scaled_to(training, seconds, pace, fixed)
            self.config = dataclasses.replace(self.config, training=training)
        # Timing changed the weights.
        self.model, self._optimizer = self._build()
        return estimated_seconds(training, pace, fixed)

    def train(self, folder: Path, *, resume: bool = False) -> tf.keras.Model:
        """Trains, or goes on.

        Args:
            folder: the run folder: `checkpoints/`, `logs/` and `history.csv` are written there.
            resume: go on from `checkpoints/state.npz`.

        Returns:
            The network of the best checkpoint, batch statistics re-estimated.

        Raises:
            TrainingInterrupted: Ctrl-C; the state is saved.
            RunError: nothing usable to resume from.
        """
        checkpoints = folder / "checkpoints"
        step, best = 0, math.inf
        if resume:
            step, best = load_state(checkpoints / STATE_FILE, self.model, self._optimizer)
        history = read_history(folder / HISTORY_FILE, step) if resume else []
        board = TensorBoard(folder / "logs")
        judge = self._make_judge()
        seconds_before = history[-1].seconds if history else 0.0
        start = time.monotonic()
        total = self.config.training.steps
        judged_at = set(evaluation_steps(self.config.training))
        recent: list[tuple[float, ...]] = []
        description = f"Training {self.config.category}".rstrip()
        with _interruption() as interrupted, self.reporter.task(description, total, step) as task:
            for stage, figures in self._steps(step):
                step += 1
                recent.append(tuple(float(figure) for figure in figures))
                task.advance(_note(recent, stage, task))
                if step in judged_at:
                    row = self._evaluate(judge, board, step, stage, recent, best, checkpoints)
                    row = dataclasses.replace(
                        row, seconds=seconds_before + time.monotonic() - start
                    )
                    best = min(best, row.criterion)
                    history.append(row)
                    recent = []
                    write_history(folder / HISTORY_FILE, history)
                    self._save(checkpoints, step, best)
                    self.reporter.say(_line(row, total))
                if interrupted.is_set() and step < total:
                    self._save(checkpoints, step, best)
                    raise TrainingInterrupted(
                        f"Interrupted after step {step} of {total}; everything is saved in "
                        f"{folder}. Go on with: ssae-tf fit --resume {folder}"
                    )
        board.close()
        load_weights(self.model, checkpoints / BEST_FILE)
        return self.model

    def _steps(self, done: int) -> Iterator[tuple[Stage, Figures]]:
        """Runs the steps that are left, one at a time."""
        training = self.config.training
        freeze_at = freeze_step(training)
        normalization.set_mode(self.model, "moving" if done > freeze_at else "batch")
        step = done
        while step < training.steps:
            index, first = stage_of(step, training.stages)
            stage = training.stages[index]
            if step == freeze_at:
                self._estimate_statistics(stage)
                normalization.set_mode(self.model, "moving")
            last = first + stage.steps
            if step < freeze_at < last:
                last = freeze_at
            run = make_step(self.model, self._optimizer, self.config)
            for index_, *pictures in self._batches(index, stage, first, step, last):
                self._optimizer.learning_rate.assign(learning_rate(step, training))
                yield stage, run(index_, *pictures)
                step += 1

    def _batches(
        self, index: int, stage: Stage, first: int, begin: int, end: int
    ) -> tf.data.Dataset:
        sampler = self._sampler(self._train, stage.size, stage.batch_size, _TRAIN, index)
        batches = training_batches(sampler, begin - first, end - first)
        batches = batches.map(lambda step, x: (step + first, x))
        if self.config.corruption.where == "data":
            batches = corrupt_in_pipeline(batches, self.config)
        return batches

    def _evaluate(
        self,
        judge: Judge,
        board: TensorBoard,
        step: int,
        stage: Stage,
        recent: Sequence[tuple[float, ...]],
        best: float,
        checkpoints: Path,
    ) -> HistoryRow:
        """Judges the model with re-estimated statistics and keeps it if it is the best."""
        statistics = [v for v in self.model.weights if "moving" in v.name]
        before = [np.array(variable) for variable in statistics]
        if normalization.layers(self.model)[0].mode == "batch":
            self._estimate_statistics(self.config.training.stages[-1])
        judgement = judge.judge(self.model)
        if judgement.criterion < best or not (checkpoints / BEST_FILE).is_file():
            save_weights(self.model, checkpoints / BEST_FILE)
        x_hat = judge.examples
        reconstruction = self.model(x_hat, training=False)
        maps = anomaly_map(reconstruction, x_hat, self.config.scoring)
        board.sheet(step, x_hat.numpy(), reconstruction.numpy(), maps.numpy())
        # Training goes on with the statistics it had, so that an evaluation changes nothing.
        for variable, value in zip(statistics, before, strict=True):
            variable.assign(value)
        loss, outside, inside = np.mean(recent, axis=0).tolist()
        row = HistoryRow(
            step=step,
            size=stage.size,
            learning_rate=learning_rate(step - 1, self.config.training),
            seconds=0.0,
            train_loss=loss,
            train_outside=outside,
            train_inside=inside,
            **dataclasses.asdict(judgement),
            best=judgement.criterion < best,
        )
        board.scalars(row)
        return row

    def _save(self, checkpoints: Path, step: int, best: float) -> None:
        save_state(checkpoints / STATE_FILE, self.model, self._optimizer, step, best)

    def _build(self) -> tuple[tf.keras.Model, tf.keras.optimizers.Optimizer]:
        training = self.config.training
        colours = [picture.mean(axis=(0, 1)) / _white(picture) for picture in self._train.pictures]
        model = autoencoder(
            self.config.model,
            training_size=min(stage.size for stage in training.stages),
            seed=training.seed,
            mixed_precision=training.mixed_precision,
            mean_colour=np.mean(colours, axis=0),
        )
        optimizer = tf.keras.optimizers.Adam(training.learning_rate, epsilon=training.epsilon)
        optimizer.build(model.trainable_variables)
        return model, optimizer

    def _make_judge(self) -> Judge:
        stage = self.config.training.stages[-1]
        sampler = self._sampler(self._select, stage.size, stage.batch_size, _SELECT)
        return Judge([sampler.batch(k) for k in range(_JUDGED_BATCHES)], self.config)

    def _estimate_statistics(self, stage: Stage) -> None:
        sampler = self._sampler(self._train, stage.size, stage.batch_size, _STATISTICS)
        batches = (tf.constant(sampler.batch(k)) for k in range(_STATISTICS_BATCHES))
        normalization.estimate(self.model, batches)

    def _sampler(
        self, cache: PictureCache, size: int, batch_size: int, *purpose: int
    ) -> CropSampler:
        pictures: Sequence[np.ndarray] = cache.pictures
        if self.config.data.sampling == "resize":
            key = (id(cache), size)
            if key not in self._sized:
                self._sized[key] = cache.resized(size, size)
            pictures = self._sized[key]
        seed = (self.config.training.seed, *purpose)
        return CropSampler(pictures, size, batch_size, self.config.data, seed)

    def _measure_pace(self) -> tuple[list[float], float]:
        """Seconds a step of each stage, and seconds of all evaluations together."""
        pace = []
        for index, stage in enumerate(self.config.training.stages):
            run = make_step(self.model, self._optimizer, self.config)
            times = []
            for step, *pictures in self._batches(index, stage, 0, 0, _TIMED_STEPS + 1):
                begin = time.monotonic()
                float(run(step, *pictures)[0])
                times.append(time.monotonic() - begin)
            # The first step compiles.
            pace.append(float(np.median(times[1:])))
        # An evaluation is some forward passes, a third of a step each.
        passes = (_STATISTICS_BATCHES + 4 * _JUDGED_BATCHES) / 3
        count = len(evaluation_steps(self.config.training))
        return pace, count * passes * pace[-1]


def _white(picture: np.ndarray) -> float:
    return 255.0 if picture.dtype == np.uint8 else 1.0


def _note(recent: Sequence[tuple[float, ...]], stage: Stage, task: Task) -> str:
    loss, outside, inside = np.mean(recent[-20:], axis=0)
    return (
        f"loss {loss:.3g}, error outside M {outside:.4f}, inside {inside:.4f}, "
        f"{task.pace * stage.batch_size:.1f} pictures/s at {stage.size}²"
    )


def _line(row: HistoryRow, total: int) -> str:
    return (
        f"step {row.step}/{total}: select loss {row.loss:.3g}, error outside M {row.outside:.4f} "
        f"(training mode {row.outside_training:.4f}), inside {row.inside:.4f} "
        f"({row.inside_training:.4f}), held-out AUROC {row.held_out_auroc:.3f}"
        + (", kept" if row.best else "")
    )


@contextlib.contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C into an event that is looked at between steps."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        # A second Ctrl-C stops at once.
        signal.signal(signal.SIGINT, previous)
        event.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)
