"""The figures that the paper prints in its Tables 2, 3 and 4, read from `published.json`.

They are kept as printed. Some of Table 2's averages contradict the rows above them, which
`recomputed` tells.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from pydantic import TypeAdapter

Values = tuple[float | None, ...]
"""What a cell holds: one figure, or in Table 4 two of them; None where the paper has a dash."""

# Rows and average are rounded to two decimals each: further apart, they can't both be right.
_ROUNDING = 0.01 + 1e-9


@dataclass(frozen=True)
class Source:
    """Where a column comes from.

    Attributes:
        name: of the method.
        reference: number in the paper's list; None for the paper's own method.
    """

    name: str
    reference: int | None


@dataclass(frozen=True)
class PublishedTable:
    """One of the paper's tables.

    Attributes:
        title: what is measured.
        metrics: the same figures' names in metrics.json, one or two.
        sources: of each column.
        rows: category -> a cell for each column.
        averages: "textures", "objects" or "all" -> a cell for each column, as printed.
    """

    title: str
    metrics: tuple[str, ...]
    sources: tuple[Source, ...]
    rows: Mapping[str, tuple[Values, ...]]
    averages: Mapping[str, tuple[Values, ...]]

    def recomputed(self, group: str, categories: Sequence[str], column: int) -> Values | None:
        """The means of a group's rows, where the printed averages contradict them.

        Args:
            group: "textures", "objects" or "all".
            categories: of the group.
            column: index of the column.

        Returns:
            The means, or None where the printed averages are right up to rounding, or where a
            row has no figure.
        """
        means = []
        for figures in zip(*(self.rows[category][column] for category in categories), strict=True):
            known = [figure for figure in figures if figure is not None]
            if len(known) < len(figures):
                return None
            means.append(sum(known) / len(known))
        pairs = zip(means, self.averages[group][column], strict=True)
        if any(printed is not None and abs(mean - printed) > _ROUNDING for mean, printed in pairs):
            return tuple(means)
        return None


@dataclass(frozen=True)
class Published:
    """All that `published.json` holds.

    Attributes:
        paper: the paper, with its arXiv id.
        references: number in the paper's list -> the publication.
        groups: "textures" and "objects" -> categories, in the paper's order.
        images: category -> images of MVTec AD in train/good, in test/good and with a defect.
        tables: by number.
    """

    paper: str
    references: Mapping[int, str]
    groups: Mapping[str, tuple[str, ...]]
    images: Mapping[str, tuple[int, int, int]]
    tables: Mapping[int, PublishedTable]

    @property
    def categories(self) -> tuple[str, ...]:
        """All of MVTec AD, in the paper's order."""
        return tuple(name for group in self.groups.values() for name in group)


@functools.cache
def load() -> Published:
    """Reads the file, once."""
    content = resources.files("ssae_tf.paper_tables").joinpath("published.json").read_bytes()
    return TypeAdapter(Published).validate_json(content)
