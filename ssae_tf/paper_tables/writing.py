"""Writes the tables in Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ssae_tf.files import write_text
from ssae_tf.paper_tables import published
from ssae_tf.paper_tables.notes import missing, remarks, sources
from ssae_tf.paper_tables.published import Values
from ssae_tf.paper_tables.results import Results
from ssae_tf.paper_tables.tables import (
    FAILED,
    MORE,
    OTHER_IMAGES,
    STUDY_FIGURES,
    Cell,
    Table,
    all_tables,
    measured,
    more_table,
    paper_table,
)


def markdown(results: Results, *, with_sources: bool = True) -> str:
    """All tables in Markdown, columns aligned for reading as plain text too.

    Args:
        results: as they are now.
        with_sources: list the publications at the end.
    """
    parts = [part for table in all_tables(results) for part in _markdown(table)]
    parts += _bullets("Notes", [*missing(results), *remarks(results)])
    if with_sources and results.plan.study is None:
        parts += _bullets("Sources", sources())
    return "\n\n".join(parts) + "\n"


def write_tables(results: Results, out: Path) -> None:
    """Writes tables.md, table2.csv, table3.csv, table4.csv and more.csv, or study.md and study.csv.

    Raises:
        RunError: they can't be written.
    """
    if results.plan.study is not None:
        write_text(out / "study.md", markdown(results))
        write_text(out / "study.csv", _csv(_study_lines(results)))
        return
    write_text(out / "tables.md", markdown(results))
    for number in published.load().tables:
        write_text(out / f"table{number}.csv", _csv(_lines(paper_table(number, results))))
    write_text(out / "more.csv", _csv(_lines(more_table(results, tuple(MORE)))))


def _markdown(table: Table) -> Iterator[str]:
    yield f"## {table.title}"
    lines = [[table.label, *table.columns]]
    lines += [[row.label, *map(str, row.cells)] for row in table.rows]
    lines = [[text.replace("|", r"\|") for text in line] for line in lines]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    aligned = [
        [line[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    yield "\n".join(f"| {' | '.join(line)} |" for line in [aligned[0], rule, *aligned[1:]])
    if table.notes:
        yield "\n".join(table.notes)


def _bullets(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {line}" for line in lines)] if lines else []


def _lines(table: Table) -> Iterator[list[str]]:
    """A table for CSV: a column for each figure.

    Averages may have more rows: recomputed ones, and over how many categories they are.
    """
    width = max((len(cell.values) for row in table.rows for cell in row.cells), default=1)
    levels = ("",) if width == 1 else (" image", " pixel")
    yield [table.label, *(f"{column}{level}" for column in table.columns for level in levels)]
    for row in table.rows:
        label = row.label.removesuffix(f" {OTHER_IMAGES}")
        yield [label, *(text for cell in row.cells for text in _texts(cell, cell.values, width))]
        if any(cell.recomputed for cell in row.cells):
            again = (_texts(cell, cell.recomputed or (), width) for cell in row.cells)
            yield [f"{label}, recomputed from the rows", *(text for cell in again for text in cell)]
        if any(count < cell.of for cell in row.cells for count in cell.count):
            counts = (_texts(cell, cell.count, width) for cell in row.cells)
            yield [f"{label}, categories measured", *(text for cell in counts for text in cell)]


def _texts(cell: Cell, values: Values, width: int) -> list[str]:
    if cell.text == FAILED:
        return [FAILED] * width
    texts = ["" if value is None else f"{round(value, 6)}" for value in values]
    return texts + [""] * (width - len(texts))


def _study_lines(results: Results) -> Iterator[list[str]]:
    plan = results.plan
    yield ["variant", "category", *STUDY_FIGURES]
    for method in plan.methods:
        for category in plan.categories:
            cell = measured(results, method.name, category, tuple(STUDY_FIGURES))
            yield [method.name, category, *_texts(cell, cell.values, len(STUDY_FIGURES))]
        means = [
            results.average(method.name, plan.categories, metric)[0] for metric in STUDY_FIGURES
        ]
        yield [method.name, "average", *("" if m is None else f"{round(m, 6)}" for m in means)]


def _csv(lines: Iterable[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
