"""Coordinates of the report's charts: the template draws them as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BINS = 40


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram.

    Attributes:
        left, right: its ends, as shares of the width of the chart.
        height: share of that of the highest bar of its row.
        count: scores in it.
    """

    left: float
    right: float
    height: float
    count: int


@dataclass(frozen=True)
class Histogram:
    """Rows of bars over one axis.

    Attributes:
        low, high: values at the ends of the axis.
        threshold: its place, as a share of the width.
        review: that of the level of review; None for none.
        rows: for each name its bars, empty ones left out.
    """

    low: float
    high: float
    threshold: float
    review: float | None
    rows: Mapping[str, Sequence[Bar]]


def histogram(
    scores: Mapping[str, Sequence[float]], threshold: float, review: float | None = None
) -> Histogram:
    """Bars of some scores, with the threshold on the axis.

    Args:
        scores: name of a row -> finite scores.
        threshold: finite.
        review: the level of review, finite; None for none.
    """
    values = [threshold, *(score for row in scores.values() for score in row)]
    values += [] if review is None else [review]
    low, high = min(values), max(values)
    # One value alone still needs an axis.
    span = (high - low) or max(abs(high), 1.0)
    rows = {name: _bars(np.asarray(row, float), low, span) for name, row in scores.items()}
    place = None if review is None else (review - low) / span
    return Histogram(low, low + span, (threshold - low) / span, place, rows)


def _bars(scores: np.ndarray, low: float, span: float) -> list[Bar]:
    counts, _ = np.histogram((scores - low) / span, bins=BINS, range=(0, 1))
    highest = max(1, counts.max())
    return [
        Bar(index / BINS, (index + 1) / BINS, float(count / highest), int(count))
        for index, count in enumerate(counts)
        if count
    ]


def polyline(points: Iterable[tuple[float, float]], side: float, widest: float = 1.0) -> str:
    """The attribute `points` of a curve in a square, y upwards.

    Args:
        points: x from 0 to `widest`, y from 0 to 1.
        side: of the square.
        widest: x of its right edge.
    """
    return " ".join(f"{side * x / widest:.1f},{side * (1 - y):.1f}" for x, y in points)
