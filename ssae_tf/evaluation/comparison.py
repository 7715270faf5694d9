"""Runs side by side: their figures, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ssae_tf.config import RunConfig, to_dict
from ssae_tf.evaluation.page import figure, flat, render
from ssae_tf.evaluation.tables import FIGURES
from ssae_tf.files import write_text

_COUNTS = ("threshold", "min_area", "n_test")


@dataclass(frozen=True)
class Run:
    """What a run folder records.

    Attributes:
        name: as it is to be shown.
        settings: the content of config.json.
        metrics: that of metrics.json; None where the run was not tested.
        calibration: that of calibration.json.
        data_hash: of the images it was trained and tested on; "" where it is not recorded.
    """

    name: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any] | None
    calibration: Mapping[str, Any]
    data_hash: str = ""


@dataclass(frozen=True)
class Comparison:
    """Rows of texts, a cell for each run.

    Attributes:
        names: of the runs.
        figures: name of a figure -> cells.
        settings: dotted name -> cells, only where they differ.
        notes: sentences on what bears on the comparison.
    """

    names: Sequence[str]
    figures: Mapping[str, Sequence[str]]
    settings: Mapping[str, Sequence[str]]
    notes: Sequence[str]


def compare(runs: Sequence[Run]) -> Comparison:
    """Puts runs side by side, at least one."""
    metrics = [run.metrics or {} for run in runs]
    figures = {name: [figure(one.get(name), 3) for one in metrics] for name in FIGURES}
    figures |= {name: [figure(one.get(name)) for one in metrics] for name in _COUNTS}
    figures["n_calibration"] = [figure(run.calibration.get("n_calibration")) for run in runs]
    promises = [run.calibration.get("false_alarms") or {} for run in runs]
    for name in ("expected", "bound"):
        figures[f"false_alarms_{name}"] = [figure(one.get(name), 3) for one in promises]
    # A setting that came after a run was made has its default there.
    settings = [dict(flat(to_dict(RunConfig()))) | dict(flat(run.settings)) for run in runs]
    names = dict.fromkeys(name for one in settings for name in one)
    rows = {name: [one.get(name, "") for one in settings] for name in names}
    differing = {name: cells for name, cells in rows.items() if len(set(cells)) > 1}
    return Comparison([run.name for run in runs], figures, differing, list(_notes(runs)))


def _notes(runs: Sequence[Run]) -> Iterator[str]:
    if len({run.data_hash for run in runs}) > 1:
        yield "The runs were not made with the same images: their figures may not compare."
    for run in runs:
        if run.metrics is None:
            yield f"{run.name} was not tested."
        elif run.metrics.get("threshold") != run.calibration.get("threshold"):
            yield f"{run.name} was calibrated anew after it was tested."


def tables(comparison: Comparison) -> list[Table]:
    """For the terminal: figures, and the settings that differ if any do."""
    parts = {"figure": comparison.figures, "setting": comparison.settings}
    return [_table(title, comparison.names, rows) for title, rows in parts.items() if rows]


def _table(title: str, names: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(title, overflow="fold")
    for name in names:
        table.add_column(Text(name), justify="right", overflow="fold")
    for name, cells in rows.items():
        table.add_row(Text(name), *map(Text, cells))
    return table


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Writes the same as an HTML page.

    Raises:
        RunError: it can't be written.
    """
    write_text(path, render("comparison.html.j2", {"comparison": comparison}))
