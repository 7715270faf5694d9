"""The training loop: stages of growing images, evaluations, checkpoints, interruption.

A training is a function of (images, settings): every batch and corruption follows from the seed
and the step, so that one taken up at a saved step goes the way of one that never stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssae_tf.config import RunConfig, Stage
from ssae_tf.data.cache import ImageCache
from ssae_tf.errors import SsaeError
from ssae_tf.models.answer import answer
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.keras_defaults import keras_defaults
from ssae_tf.models.weights import load_weights, save_weights
from ssae_tf.progress import Reporter, Task
from ssae_tf.run_folder import BEST_FILE, CHECKPOINTS_FOLDER, HISTORY_FILE, LOGS_FOLDER, STATE_FILE
from ssae_tf.runtime.gpu import set_up_gpus, use_tensor_float_32
from ssae_tf.runtime.signals import noticed
from ssae_tf.scoring.anomaly_map import anomaly_map
from ssae_tf.training import normalization
from ssae_tf.training.batches import STATISTICS_BATCHES, VALIDATION_BATCHES, Batches
from ssae_tf.training.figures import RecentFigures
from ssae_tf.training.logs import HistoryRow, TensorBoard, read_history, write_history
from ssae_tf.training.replicas import (
    CLUSTER_VARIABLE,
    WORKER_IS_GONE,
    WorkerLost,
    agreed,
    check_parts,
    is_chief,
)
from ssae_tf.training.schedule import (
    estimated_seconds,
    evaluation_steps,
    learning_rate,
    scaled_to,
    stage_of,
)
from ssae_tf.training.selection import Validator
from ssae_tf.training.state import Progress, load_state, save_state
from ssae_tf.training.step import Figures, make_step

_TIMED_STEPS = 3
# Whose random numbers are drawn together, beforehand.
_STEPS_AT_ONCE = 10_000
# Evaluations without a better one after which a training by objective (2) or (3) ends.
_PATIENCE = 3

# Seconds of training that a killed process loses at most.
_SAVED_EVERY = 300.0


class TrainingInterrupted(SsaeError):
    """Ctrl-C, SIGTERM or SIGHUP, after everything was saved.

    Attributes:
        step: how many are finished.
        of: how many there are.
        place: the folder that everything is saved in.
        number: of the signal.
        run: what `--resume` takes: another folder than `place` where this is to replace a run.
    """

    def __init__(self, step: int, of: int, place: str, number: int, run: str | None = None) -> None:
        self.step, self.of, self.place, self.number = step, of, place, number
        self.run = run or place
        super().__init__(step, of, place, number, self.run)

    def __str__(self) -> str:
        kept = "" if self.run == self.place else f", and {self.run} is as it was"
        return (
            f"Interrupted after step {self.step} of {self.of}; everything is saved in "
            f"{self.place}{kept}. Go on with: ssae-tf fit --resume {self.run}"
        )


class TrainingDiverged(SsaeError):
    """Loss or errors are infinite or not numbers."""


class Trainer:
    """Trains one network on the images of one category.

    Attributes:
        config: all settings; `fit_to_time` may change the number of steps.
        model: F, with the weights it has now.
    """

    def __init__(
        self,
        train: ImageCache,
        select: ImageCache,
        config: RunConfig,
        reporter: Reporter,
        strategy: tf.distribute.Strategy | None = None,
        start: Path | None = None,
    ) -> None:
        """Builds the network.

        Args:
            strategy: the devices that train, as `strategy_for` gives them; None for one. Only the
                chief of a cluster writes files.
            start: file of the weights to begin with, as `save_weights` wrote it; None for random
                ones.

        Raises:
            InputError: a step can't be split over so many devices.
            RunError: `start` can't be read, or belongs to another network.
        """
        self.config = config
        self.reporter = reporter
        self._strategy = strategy or tf.distribute.get_strategy()
        self._is_chief = is_chief(self._strategy)
        check_parts(config.training, self._strategy)
        set_up_gpus()
        self._batches = Batches(train, select, config)
        self._build(start)

    def fit_to_time(self, seconds: float | None) -> tuple[RunConfig, float]:
        """Measures the pace of every stage, and sets the number of steps if a time is given.

        Args:
            seconds: that training should take; None leaves the steps as they are.

        Returns:
            The settings with the number of steps, and the expected seconds of training.

        Raises:
            WorkerLost: another worker of the cluster has ended.
        """
        try:
            # What is compiled here is what training runs.
            with normalization.kept([*self.model.variables, *self._optimizer.variables]):
                pace, fixed = self._measure_pace()
            # Workers must come to the same number of steps.
            pace = [agreed(one, self._strategy) for one in pace]
            fixed = agreed(fixed, self._strategy)
        except WORKER_IS_GONE:
            raise WorkerLost(
                f"Another worker of {CLUSTER_VARIABLE} has ended before training began."
            ) from None
        training = self.config.training
        if seconds is not None:
            training = scaled_to(training, seconds, pace, fixed)
            self.config = dataclasses.replace(self.config, training=training)
        return self.config, estimated_seconds(training, pace, fixed)

    def train(self, folder: Path, *, resume: bool = False) -> tf.keras.Model:
        """Trains, or goes on.

        At the evaluation steps the statistics of batch normalisation are estimated anew, the model
        is validated on *select*, kept if it is gated or the best so far, and the state of the
        training saved, as it is every five minutes; training then goes on as if nothing had
        happened. By objectives (2) and (3), which may learn to find the training corruption alone,
        it is the best that is kept, and training ends when three evaluations in a row found unseen
        corruption worse than one before.

        Args:
            folder: the run folder: `checkpoints/`, `logs/` and `history.csv` are written there.

        Returns:
            The network of the checkpoint that is kept, batch statistics re-estimated.

        Raises:
            TrainingInterrupted: Ctrl-C, SIGTERM or SIGHUP; the state is saved.
            TrainingDiverged: loss or errors are not finite; nothing is saved since the last
                evaluation.
            WorkerLost: another worker of the cluster has ended; the state is saved.
            RunError: nothing usable to resume from, or the disk is full.
        """
        checkpoints = folder / CHECKPOINTS_FOLDER
        done = Progress()
        if resume:
            done = load_state(checkpoints / STATE_FILE, self.model, self._optimizer)
        history = read_history(folder / HISTORY_FILE, done.step) if resume else []
        clean, counted = (
            images(self._last_stage)
            for images in (self._batches.validation, self._batches.validation_counted)
        )
        validator = Validator(self.model, clean, self.config, counted)
        saved = time.monotonic()
        start = saved - done.seconds
        total = self.config.training.steps
        validated_at = set(evaluation_steps(self.config.training))
        recent = RecentFigures(self._check_finite)
        description = f"Training {self.config.category}".rstrip()
        with (
            contextlib.closing(self._board(folder)) as board,
            noticed() as interrupted,
            self.reporter.task(description, total, done.step) as task,
        ):
            # One that had ended early, and was killed before its threshold, trains no further.
            left = iter(()) if self._gets_worse(history) else self._steps(done.step)
            while (one := self._next(left, recent, done, checkpoints)) is not None:
                stage, figures = one
                recent.add(done.step + 1, figures)
                done = Progress(done.step + 1, done.best_criterion, time.monotonic() - start)
                task.advance(_note(recent.known, stage, task))
                is_validated, number = done.step in validated_at, interrupted.number
                if not (is_validated or number or time.monotonic() - saved >= _SAVED_EVERY):
                    continue
                # Nothing is validated or saved before all figures were looked at.
                recent.fetch()
                if is_validated:
                    row = self._evaluate(validator, board, done, stage, recent.known, checkpoints)
                    history.append(row)
                    recent.clear()
                    best = min(done.best_criterion, row.criterion)
                    done = Progress(done.step, best, time.monotonic() - start)
                    if self._is_chief:
                        write_history(folder / HISTORY_FILE, history)
                self._save(checkpoints, done)
                saved = time.monotonic()
                if is_validated:
                    self.reporter.say(_line(history[-1], total))
                if number:
                    raise TrainingInterrupted(done.step, total, str(folder), number)
                if is_validated and self._gets_worse(history):
                    self.reporter.say(_ended_early(history, total))
                    break
        if self._is_chief:
            load_weights(self.model, checkpoints / BEST_FILE)
        return self.model

    def _board(self, folder: Path) -> TensorBoard:
        return TensorBoard(folder / LOGS_FOLDER if self._is_chief else None, self.reporter.warn)

    def _next(
        self,
        left: Iterator[tuple[Stage, Figures]],
        recent: RecentFigures,
        done: Progress,
        checkpoints: Path,
    ) -> tuple[Stage, Figures] | None:
        """The next step; None after the last."""
        try:
            return next(left, None)
        except WORKER_IS_GONE:
            recent.fetch()
            self._save(checkpoints, done)
            raise WorkerLost(
                f"Training stopped after step {done.step} of {self.config.training.steps}: another "
                f"worker of {CLUSTER_VARIABLE} has ended, or can't be reached."
            ) from None

    def _gets_worse(self, history: Sequence[HistoryRow]) -> bool:
        """Whether the last evaluations were all worse than one before, where that ends training."""
        if self.config.objective.equation == 1 or len(history) <= _PATIENCE:
            return False
        return not any(row.best for row in history[-_PATIENCE:])

    def _steps(self, done: int) -> Iterator[tuple[Stage, Figures]]:
        training = self.config.training
        step = done
        while step < training.steps:
            index, first = stage_of(step, training.stages)
            stage = training.stages[index]
            run = self._step_of(stage)
            last = min(first + stage.steps, step + _STEPS_AT_ONCE)
            for index_, *images in self._batches.training(index, stage, first, step, last):
                self._optimizer.learning_rate.assign(learning_rate(step, training))
                yield stage, run(index_, *images)
                step += 1

    def _evaluate(
        self,
        validator: Validator,
        board: TensorBoard,
        done: Progress,
        stage: Stage,
        recent: Sequence[Sequence[float]],
        checkpoints: Path,
    ) -> HistoryRow:
        # Training goes on with the statistics it had, so that an evaluation changes nothing.
        with normalization.statistics_kept(self.model):
            self._estimate(self._batches.clean(self._last_stage))
            metrics = validator.validate()
            # The last update may have gone wrong after finite figures.
            self._check_finite((metrics.loss, metrics.outside, metrics.inside), done.step)
            best = self._takes_last or metrics.criterion < done.best_criterion
            if self._is_chief and (best or not (checkpoints / BEST_FILE).is_file()):
                save_weights(self.model, checkpoints / BEST_FILE)
            x_hat = validator.examples
            repaired = answer(self.model(x_hat, training=False))
        maps = anomaly_map(repaired, x_hat, validator.scoring)
        board.sheet(done.step, x_hat.numpy(), repaired.reconstruction.numpy(), maps.numpy())
        loss, outside, inside = np.mean(recent, axis=0).tolist()
        row = HistoryRow(
            step=done.step,
            size=stage.size,
            learning_rate=learning_rate(done.step - 1, self.config.training),
            seconds=done.seconds,
            train_loss=loss,
            train_outside=outside,
            train_inside=inside,
            **dataclasses.asdict(metrics),
            best=best,
        )
        board.scalars(row)
        return row

    @property
    def _takes_last(self) -> bool:
        """Whether each checkpoint takes the place of the one before, whatever its criterion."""
        return self.config.model.answer == "gated" and self.config.objective.equation == 1

    def _check_finite(self, figures: Sequence[float], step: int) -> None:
        """Looks at the errors too: the norms of equations (1) to (3) may hide what is no number."""
        if not all(math.isfinite(figure) for figure in figures):
            loss, outside, inside = figures
            training = self.config.training
            raise TrainingDiverged(
                f"Training diverged at step {step} of {training.steps}: loss {loss:.3g}, error "
                f"outside M {outside:.3g}, inside {inside:.3g}. Start anew with --set "
                f"training.learning_rate below {training.learning_rate:g}."
            )

    def _save(self, checkpoints: Path, done: Progress) -> None:
        if self._is_chief:
            save_state(checkpoints / STATE_FILE, self.model, self._optimizer, done)

    @property
    def _last_stage(self) -> Stage:
        return self.config.training.stages[-1]

    @keras_defaults()
    def _build(self, start: Path | None) -> None:
        training = self.config.training
        self.model = autoencoder(
            self.config.model,
            training_size=min(stage.size for stage in training.stages),
            seed=training.seed,
            mean_colour=self._batches.mean_colour,
        )
        if start is not None:
            load_weights(self.model, start)
        self._optimizer = tf.keras.optimizers.Adam(training.learning_rate)
        self._optimizer.build(self.model.trainable_variables)
        self._estimate = normalization.make_estimate(self.model)
        self._compiled: dict[tuple[int, int], Callable[..., Figures]] = {}

    def _step_of(self, stage: Stage) -> Callable[..., Figures]:
        """The compiled step of a stage, one for all stages of such a size and batch."""
        # A detector of before in this process has switched it off.
        use_tensor_float_32(True)
        key = stage.size, stage.batch_size
        if key not in self._compiled:
            self._compiled[key] = make_step(
                self.model, self._optimizer, self.config, self._strategy
            )
        return self._compiled[key]

    def _measure_pace(self) -> tuple[list[float], float]:
        """Seconds a step of each stage, once it is compiled, and seconds of all evaluations."""
        pace = []
        for index, stage in enumerate(self.config.training.stages):
            run = self._step_of(stage)
            times = []
            for step, *images in self._batches.training(index, stage, 0, 0, _TIMED_STEPS + 1):
                begin = time.monotonic()
                float(run(step, *images)[0])
                times.append(time.monotonic() - begin)
            pace.append(float(np.median(times[1:])))
        # An evaluation is some forward passes, a third of a step each.
        passes = (STATISTICS_BATCHES + 4 * VALIDATION_BATCHES) / 3
        count = len(evaluation_steps(self.config.training))
        return pace, count * passes * pace[-1]


def _note(recent: Sequence[Sequence[float]], stage: Stage, task: Task) -> str:
    pace = f"{task.pace * stage.batch_size:.1f} images/s at {stage.size}²" if task.pace > 0 else ""
    # None are fetched yet.
    if not recent:
        return pace
    loss, outside, inside = np.mean(recent[-20:], axis=0)
    note = f"loss {loss:.3g}, error outside M {outside:.4f}, inside {inside:.4f}"
    return f"{note}, {pace}" if pace else note


def _ended_early(history: Sequence[HistoryRow], total: int) -> str:
    kept = [row for row in history if row.best][-1]
    return (
        f"Ended after step {history[-1].step} of {total}: unseen corruption was found best after "
        f"step {kept.step} (AUROC {kept.held_out_auroc:.3f}), and no better in {_PATIENCE} "
        "evaluations since."
    )


def _line(row: HistoryRow, total: int) -> str:
    return (
        f"step {row.step}/{total}: select loss {row.loss:.3g}, error outside M {row.outside:.4f} "
        f"(training mode {row.outside_training:.4f}), inside {row.inside:.4f} "
        f"({row.inside_training:.4f}), held-out AUROC {row.held_out_auroc:.3f}"
        + (", kept" if row.best else "")
    )
