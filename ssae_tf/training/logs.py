"""What a training leaves to read: history.csv and TensorBoard's logs."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf.errors import RunError, one_line
from ssae_tf.files import atomic


@dataclasses.dataclass(frozen=True)
class HistoryRow:
    """One evaluation during training.

    Attributes:
        step: finished steps.
        size: side of the training images, pixels.
        learning_rate: of the last step.
        seconds: spent in training, in all sessions together.
        train_loss, train_outside, train_inside: means over the steps since the last row, or since
            training was taken up.
        criterion … held_out_auroc: see `ssae_tf.training.selection.ValidationMetrics`.
        best: whether this became the kept checkpoint.
    """

    step: int
    size: int
    learning_rate: float
    seconds: float
    train_loss: float
    train_outside: float
    train_inside: float
    criterion: float
    loss: float
    outside: float
    inside: float
    outside_training: float
    inside_training: float
    held_out_auroc: float
    best: bool


def read_history(path: Path, up_to_step: int) -> list[HistoryRow]:
    """Rows of a history file up to a step; none if there is no file.

    Raises:
        RunError: the file is not what `write_history` wrote.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [_parse_row(record) for record in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise RunError(f"{path}: can't be read as a training history ({error!r}).") from None
    return [row for row in rows if row.step <= up_to_step]


def write_history(path: Path, rows: list[HistoryRow]) -> None:
    """Writes all rows as CSV with a header."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        names = [field.name for field in dataclasses.fields(HistoryRow)]
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


class TensorBoard:
    """Scalars and image sheets under one folder; training goes on where it can't be written."""

    def __init__(self, folder: Path | None, warn: Callable[[str], None] = warnings.warn) -> None:
        self._folder = folder
        self._warn = warn
        self._writer: Any = None
        if folder is not None:
            with self._writable():
                self._writer = tf.summary.create_file_writer(str(folder))

    def scalars(self, row: HistoryRow) -> None:
        """The numbers of an evaluation, in groups that share a chart page."""
        groups = {
            "loss/train": row.train_loss,
            "loss/select": row.loss,
            "criterion": row.criterion,
            "held_out_auroc": row.held_out_auroc,
            "error_outside/train": row.train_outside,
            "error_outside/select_inference": row.outside,
            "error_outside/select_training_mode": row.outside_training,
            "error_inside/train": row.train_inside,
            "error_inside/select_inference": row.inside,
            "error_inside/select_training_mode": row.inside_training,
            "learning_rate": row.learning_rate,
        }
        if self._writer is not None:
            with self._writable(), self._writer.as_default(row.step):
                for name, value in groups.items():
                    tf.summary.scalar(name, value)
                self._writer.flush()

    def sheet(
        self, step: int, x_hat: np.ndarray, reconstruction: np.ndarray, maps: np.ndarray
    ) -> None:
        """A sheet with a row for each image: X̂, F(X̂) and the map, white at its maximum.

        Args:
            x_hat, reconstruction: (B, H, W, 3) float32 in [0, 1].
            maps: (B, H, W) float32, at least 0.
        """
        if self._writer is None:
            return
        grey = maps / max(float(maps.max()), np.finfo(np.float32).tiny)
        columns = (x_hat, reconstruction, np.repeat(grey[..., None], 3, axis=-1))
        rows = np.concatenate(columns, axis=2)
        with self._writable(), self._writer.as_default(step):
            tf.summary.image("select", np.concatenate(list(rows), axis=0)[None])
            self._writer.flush()

    def close(self) -> None:
        """Writes out what is still buffered."""
        if self._writer is not None:
            with self._writable():
                self._writer.close()

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            self._writer = None
            self._warn(
                f"{self._folder}: no more logs for TensorBoard, they can't be written "
                f"({one_line(error)}); training goes on."
            )


def _parse_row(record: dict[str, str]) -> HistoryRow:
    parsers: dict[str, Callable[[str], Any]] = {
        "bool": lambda text: text == "True",
        "int": int,
        "float": float,
    }
    fields = dataclasses.fields(HistoryRow)
    return HistoryRow(**{f.name: parsers[str(f.type)](record[f.name]) for f in fields})
