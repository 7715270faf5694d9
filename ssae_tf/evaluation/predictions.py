"""What was said of inspected images: a page to look at, and a table."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ssae_tf.evaluation.coco import CocoFile
from ssae_tf.evaluation.gallery import draw
from ssae_tf.evaluation.page import render
from ssae_tf.files import check_can_be_made, is_temporary_of, sweep, write_text

if TYPE_CHECKING:
    from ssae_tf.result import Result

MAX_SHOWN = 200
"""Images on a page, which so stays below 5 MB."""

_MAX_FAILURES = 50
COLUMNS = (
    "path",
    "score",
    "p_value",
    "threshold",
    "is_anomalous",
    "review_threshold",
    "verdict",
    "defects",
    "area",
    "error",
)


class Writer(Protocol):
    """Makes one file of all images together."""

    def add(self, result: Result) -> None:
        """Takes what was said of an image."""

    def fail(self, line: Mapping[str, Any]) -> None:
        """Takes the line of an image that was not inspected, with `path` and `error`."""

    def write(self) -> None:
        """Writes the file, whole or not at all.

        Raises:
            WriteError: it can't be written.
        """


def writers(
    source: str,
    images: Sequence[Path],
    page: Path | None = None,
    table: Path | None = None,
    coco: Path | None = None,
) -> list[Writer]:
    """What makes the files that are asked for.

    Args:
        source: what the images are inspected with, as it is to be shown.
        images: files and folders as they were named.
        page, table, coco: files to write; None for none.

    Raises:
        RunError: the folder of one can't be made or written to.
    """
    for file in filter(None, (page, table, coco)):
        check_can_be_made(file.parent)
        sweep(file.parent, functools.partial(is_temporary_of, path=file))
    writers: list[Writer] = []
    if page is not None:
        writers.append(PredictionsPage(page, source))
    if table is not None:
        writers.append(PredictionsTable(table))
    if coco is not None:
        writers.append(CocoFile(coco, images[0] if len(images) == 1 else None))
    return writers


class PredictionsPage:
    """An HTML file; thumbnails of the most anomalous images are kept.

    Args:
        path: of the file.
        source: what the images were inspected with, as it is to be shown.
    """

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source
        self._shown: list[dict[str, Any]] = []
        self._failures: list[str] = []
        self._images = self._rejected = self._reviewed = 0

    def add(self, result: Result) -> None:
        """Adds an image, with its thumbnails unless the page is full of more anomalous ones."""
        self._images += 1
        self._rejected += result.is_anomalous
        line = result.to_dict()
        self._reviewed += line.get("verdict") == "review"
        if len(self._shown) == MAX_SHOWN and _rank(line) > _rank(self._shown[-1]["result"]):
            return
        panels = draw(result.image, None, result.anomaly_map, result.mask, result.threshold)
        shown = [*self._shown, {"result": line, "panels": panels}]
        shown.sort(key=lambda one: _rank(one["result"]))
        self._shown = shown[:MAX_SHOWN]

    def fail(self, line: Mapping[str, Any]) -> None:
        """Adds an image that was not inspected; the error names it."""
        self._failures.append(line["error"])

    def write(self) -> None:
        """Writes the page."""
        content = {
            "source": self._source,
            "images": self._images,
            "rejected": self._rejected,
            "reviewed": self._reviewed,
            "shown": self._shown,
            "failures": self._failures[:_MAX_FAILURES],
            "more_failures": max(0, len(self._failures) - _MAX_FAILURES),
        }
        write_text(self._path, render("predictions.html.j2", content))


def _rank(line: Mapping[str, Any]) -> tuple[float, str]:
    """The most anomalous first."""
    return -line["score"], line["path"]


class PredictionsTable:
    """A file of CSV, a line for each image."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = io.StringIO()
        self._writer = csv.DictWriter(
            self._text, COLUMNS, extrasaction="ignore", lineterminator="\n"
        )
        self._writer.writeheader()

    def add(self, result: Result) -> None:
        """Adds an image: `defects` is how many were found, `area` their pixels."""
        totals = {"defects": len(result.defects), "area": sum(one.area for one in result.defects)}
        is_anomalous = str(result.is_anomalous).lower()
        self._writer.writerow({**result.to_dict(), **totals, "is_anomalous": is_anomalous})

    def fail(self, line: Mapping[str, Any]) -> None:
        """Adds an image that was not inspected."""
        self._writer.writerow(line)

    def write(self) -> None:
        """Writes the table."""
        write_text(self._path, self._text.getvalue())
