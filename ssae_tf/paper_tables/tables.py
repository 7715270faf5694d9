"""The paper's tables with measured columns, and those of a study, as cells.

Categories that were not measured stay blank, and averages are over those that were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ssae_tf.paper_tables import published
from ssae_tf.paper_tables.published import PublishedTable, Values
from ssae_tf.paper_tables.results import Results

FAILED = "failed"
OTHER_IMAGES = "†"
_DASH = "–"
_RECOMPUTED = "printed (recomputed from the rows, which contradict it)"

MORE = {"image_auroc": "image AUROC", "aupro": "AUPRO", "tpr": "TPR", "tnr": "TNR"}
_SHOWN = ("image_auroc", "aupro")
STUDY_FIGURES = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "balanced_accuracy": "balanced accuracy",
}


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        values: figures; None where there is none.
        digits: decimals shown.
        recomputed: of a printed average that the rows contradict.
        count, of: over how many of how many categories a measured average is, for each figure.
        text: shown in place of figures.
    """

    values: Values = ()
    digits: int = 3
    recomputed: Values | None = None
    count: tuple[int, ...] = ()
    of: int = 0
    text: str = ""

    def __str__(self) -> str:
        if self.text or all(value is None for value in self.values):
            return self.text
        shown = self._join(self.values)
        if self.recomputed is not None:
            return f"{shown} ({self._join(self.recomputed)})"
        if any(count < self.of for count in self.count):
            counts = "/".join(map(str, dict.fromkeys(self.count)))
            return f"{shown} ({counts} of {self.of})"
        return shown

    def _join(self, values: Values) -> str:
        return "/".join(_DASH if v is None else f"{v:.{self.digits}f}" for v in values)


@dataclass(frozen=True)
class Row:
    """One row: its label, its cells, and whether it is an average."""

    label: str
    cells: tuple[Cell, ...]
    is_average: bool = False


@dataclass(frozen=True)
class Table:
    """A table to write.

    Attributes:
        title: above it.
        label: of the first column.
        columns: of the others.
        measured: how many of the columns, from the last, are measured here.
        rows: each with a cell for every column.
        notes: sentences below it.
    """

    title: str
    label: str
    columns: tuple[str, ...]
    measured: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def paper_table(number: int, results: Results) -> Table:
    """Table 2, 3 or 4: the published columns as printed, and a measured one for each method.

    The rows are the paper's, and below them those of categories that are not in MVTec AD.
    """
    known = published.load()
    table = known.tables[number]
    methods = [method.name for method in results.plan.methods]

    def row(category: str) -> Row:
        if category in table.rows:
            printed = tuple(Cell(cell, 2, text=_dash(cell)) for cell in table.rows[category])
        else:
            printed = (Cell(),) * len(table.sources)
        here = (measured(results, method, category, table.metrics) for method in methods)
        return Row(_label(results, category), (*printed, *here))

    def average(group: str, categories: Sequence[str]) -> Row:
        printed = _printed(table, group, categories)
        here = (_average(results, method, categories, table.metrics) for method in methods)
        return Row(f"avg. {group}", (*printed, *here), is_average=True)

    rows = []
    for group, categories in known.groups.items():
        rows += [*map(row, categories), average(group, categories)]
    rows.append(average("all", known.categories))
    rows += [row(name) for name in results.plan.categories if name not in table.rows]
    contradicted = any(cell.recomputed for row in rows for cell in row.cells)
    return Table(
        f"Table {number}. {table.title}",
        "Category",
        (*(source.name for source in table.sources), *(f"{m} (measured)" for m in methods)),
        len(methods),
        tuple(rows),
        (f"Averages such as 0.88 (0.74): {_RECOMPUTED}.",) if contradicted else (),
    )


def more_table(results: Results, metrics: Sequence[str] = _SHOWN) -> Table:
    """Figures that the paper does not give, for each method: by default image AUROC and AUPRO."""
    known = published.load()
    plan = results.plan
    columns = [(method.name, metric) for method in plan.methods for metric in metrics]

    def row(category: str) -> Row:
        cells = (measured(results, name, category, (metric,)) for name, metric in columns)
        return Row(_label(results, category), tuple(cells))

    rows = [row(category) for category in plan.categories if category in known.categories]
    for group, categories in {**known.groups, "all": known.categories}.items():
        if set(categories) & set(plan.categories):
            means = (_average(results, name, categories, (metric,)) for name, metric in columns)
            rows.append(Row(f"avg. {group}", tuple(means), is_average=True))
    rows += [row(category) for category in plan.categories if category not in known.categories]
    return Table(
        "Image AUROC and AUPRO",
        "Category",
        tuple(f"{name}, {MORE[metric]}" for name, metric in columns),
        len(columns),
        tuple(rows),
    )


def study_tables(results: Results) -> list[Table]:
    """A study's variants: the averages over the categories, and then each category."""
    plan = results.plan
    tables = []
    for category in ("", *plan.categories):
        rows = []
        for method in plan.methods:
            cells = (
                measured(results, method.name, category, (metric,))
                if category
                else _average(results, method.name, plan.categories, (metric,))
                for metric in STUDY_FIGURES
            )
            rows.append(Row(method.name, tuple(cells)))
        tables.append(
            Table(
                category or f"Average over {', '.join(plan.categories)}",
                "Variant",
                tuple(STUDY_FIGURES.values()),
                len(STUDY_FIGURES),
                tuple(rows),
            )
        )
    return tables


def all_tables(results: Results) -> list[Table]:
    """The tables of a benchmark, in their order."""
    if results.plan.study is not None:
        return study_tables(results)
    tables = [paper_table(number, results) for number in sorted(published.load().tables)]
    return [*tables, more_table(results)]


def measured(results: Results, method: str, category: str, metrics: Sequence[str]) -> Cell:
    """What a run has found: blank where it was not asked for or is still to come."""
    if (method, category) in results.failed:
        return Cell(text=FAILED)
    return Cell(tuple(results.figure(method, category, metric) for metric in metrics))


def _average(
    results: Results, method: str, categories: Sequence[str], metrics: Sequence[str]
) -> Cell:
    pairs = [results.average(method, categories, metric) for metric in metrics]
    values, counts = (tuple(parts) for parts in zip(*pairs, strict=True))
    return Cell(values, count=counts, of=len(categories))


def _printed(table: PublishedTable, group: str, categories: Sequence[str]) -> Iterator[Cell]:
    for column, values in enumerate(table.averages[group]):
        again = table.recomputed(group, categories, column)
        yield Cell(values, 2, again, text=_dash(values))


def _dash(values: Values) -> str:
    """The paper's own sign for what it does not give; blank is what was not measured here."""
    return _DASH if all(value is None for value in values) else ""


def _label(results: Results, category: str) -> str:
    if category not in published.load().categories:
        return category
    label = category.replace("_", " ").title()
    return f"{label} {OTHER_IMAGES}" if has_other_images(results, category) else label


def has_other_images(results: Results, category: str) -> bool:
    """Whether a category has the name of one of MVTec AD's, but not as many images."""
    known = published.load().images
    return category in known and results.images.get(category, known[category]) != known[category]
