"""The content of `metrics.json` as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ssae_tf.errors import printable

MISSING = "–"
"""Stands for a figure that is undefined (null in `metrics.json`)."""

FIGURES = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "balanced_accuracy": "balanced accuracy",
    "tpr": "TPR",
    "tnr": "TNR",
    "f1_image": "F1 image",
    "f1_pixel": "F1 pixel",
}
# Of a table by kind, beside whose TPR and TNR their mean has no room.
_COLUMNS = {name: header for name, header in FIGURES.items() if name != "balanced_accuracy"}


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """One row per defect kind and a total row, figures with three decimals.

    Args:
        metrics: as `Evaluation.metrics` returns it or `metrics.json` holds it.

    Returns:
        A table to print with a rich console; column n gives defective + good images, the caption
        threshold and minimum area.
    """
    table = Table(box=box.SIMPLE_HEAD, caption=_caption(metrics), caption_justify="left")
    table.add_column("defect kind", overflow="fold")
    for header in (*_COLUMNS.values(), "n"):
        # Narrow enough for 80 columns: numbers never wrap, a long kind does.
        table.add_column(header.replace(" ", "\n"), justify="right", no_wrap=True)
    for kind, figures in metrics["kinds"].items():
        # Text, because a kind is a folder's name and may hold what rich reads as markup.
        table.add_row(Text(printable(kind)), *_cells(figures))
    table.add_section()
    table.add_row("total", *_cells(metrics), style="bold")
    return table


def ablation_table(rows: Mapping[str, Mapping[str, float | None]]) -> Table:
    """One row per detector, figures with three decimals.

    Args:
        rows: as `ssae_tf.ablation.ablate` returns them.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("detector", overflow="fold")
    for header in FIGURES.values():
        table.add_column(header.replace(" ", "\n"), justify="right", no_wrap=True)
    for name, figures in rows.items():
        table.add_row(name, *(_decimals(figures[key]) for key in FIGURES))
    return table


def projection_line(projection: Mapping[str, Any]) -> str:
    """What F does to synthetic anomalies and to normal images, in one line.

    Args:
        projection: the block of metrics.json of that name.
    """
    if not projection["n_images"]:
        return "Repairs: not measured, there are no normal test images."
    before, after = (projection[f"corrupted_region_error_{when}"] for when in ("before", "after"))
    bands = [
        f"{_grey(band['mean'])} at {band['from']:g}–{band['to']:g} px"
        if band["to"] is not None
        else f"{_grey(band['mean'])} farther away"
        for band in projection["conservation"]
        if band["mean"] is not None
    ]
    return (
        f"Repairs synthetic anomalies: error {_grey(before)} → {_grey(after)} inside, moves "
        f"{', '.join(bands) or 'nothing outside'}; normal images: error "
        f"{_grey(projection['residual'])}, the second time {_grey(projection['idempotence'])}."
    )


def _cells(figures: Mapping[str, Any]) -> list[str]:
    defective = figures["n_defective"]
    count = f"{defective} + {figures['n_test'] - defective}"
    return [*(_decimals(figures[key]) for key in _COLUMNS), count]


def _decimals(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _grey(value: float) -> str:
    """A mean absolute error in grey levels of [0, 1]."""
    return f"{value:.4f}"


def _caption(metrics: Mapping[str, Any]) -> str:
    parts = [
        f"threshold {metrics['threshold']:.4g}",
        f"minimum area {metrics['min_area']} px",
        "n: defective + good images",
    ]
    if metrics["n_without_mask"]:
        parts.append(f"{metrics['n_without_mask']} without a mask, left out of pixel figures")
    return " · ".join(parts)
