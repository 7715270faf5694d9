"""Images to look at: evaluation sheets, overlays, heat maps and grids of images, as PNG.

Everything is drawn through matplotlib's object interface, in its default style: neither a backend
nor the user's matplotlibrc has a say, and both are left as they are.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.style import context as in_style

from ssae_tf.data.images import write_png
from ssae_tf.errors import printable
from ssae_tf.evaluation.protocol import ImageResult, Verdict

OUTLINE = (0, 255, 80)
"""RGB colour of mask outlines: a green that neither surfaces nor the colour map contain."""

COLORMAP = "inferno"
_DPI = 120
_CELL = 2.1  # Inches: width of a cell, and the limit of its height is 1.5 times as much.
_GAP = 0.08
_MARGIN = 0.15
_HEADER = 0.3
_TITLE_LINE = 0.24
_LABEL_HEIGHT = 0.8  # A very wide image's row still has room for the text beside it.


_V = TypeVar("_V", bound=Verdict)


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One row of an evaluation sheet.

    Attributes:
        label: why the image is shown, e.g. "best".
        result: the detector's result on it.
        image: X, (H, W, 3) float in [0, 1] or uint8.
        reconstruction: F(X), like the image.
    """

    label: str
    result: ImageResult
    image: np.ndarray
    reconstruction: np.ndarray


def pick_rows(results: Sequence[_V]) -> list[tuple[str, _V]]:
    """The best, median and worst judged images of one kind, without repetition.

    Best is the highest score of a defect kind and the lowest score of the good images.

    Args:
        results: of one kind, any number.

    Returns:
        Pairs of label ("best", "median", "worst", or "only") and result, in this order: none,
        one or two of them when there are no more results.
    """
    ranked = sorted(results, key=lambda r: -r.score if r.is_defective else r.score)
    if len(ranked) < 2:
        return [("only", result) for result in ranked]
    best, worst = ("best", ranked[0]), ("worst", ranked[-1])
    if len(ranked) == 2:
        return [best, worst]
    return [best, ("median", ranked[len(ranked) // 2]), worst]


def heatmap(anomaly_map: np.ndarray, low: float, high: float) -> np.ndarray:
    """An anomaly map in colours (dark to bright), values scaled from low … high and clipped.

    Args:
        anomaly_map: (H, W) real, without NaN.
        low: value of the darkest colour.
        high: value of the brightest; when it equals `low`, everything above is brightest.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: `low` is greater than `high`, or one is not finite.
    """
    # The smallest float spacing keeps a flat map from dividing by zero.
    span = max(high - low, np.finfo(np.float64).tiny)
    shares = np.clip((np.asarray(anomaly_map, np.float64) - low) / span, 0, 1)
    colours = cv2.applyColorMap(np.round(255 * shares).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(colours[..., ::-1])


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image with the outline of a mask around its regions.

    The line lies outside of the regions, so that they stay visible down to a single pixel; where a
    region touches the image's edge, the line runs inside along that edge. Its width grows with
    the image, from one pixel.

    Args:
        image: (H, W, 3) or (H, W), float in [0, 1] or uint8.
        mask: (H, W) bool.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    drawn = as_rgb(image).copy()
    width = max(1, round(min(mask.shape) / 200))
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    line = cv2.dilate(mask.astype(np.uint8), square).astype(bool) & ~mask
    border = np.ones_like(mask)
    border[width:-width, width:-width] = False
    drawn[line | (mask & border)] = OUTLINE
    return drawn


@in_style("default")
def write_sheet(path: Path, rows: Sequence[SheetRow], title: str, *, threshold: float) -> None:
    """Writes an evaluation sheet: input, reconstruction, anomaly map, mask, ground truth.

    The maps share one colour scale, drawn beside them with the threshold marked on it. The file
    appears whole or not at all; its folder is made when missing.

    Args:
        path: ends in .png.
        rows: at least one; images may differ in size.
        title: printed above.
        threshold: in the map's unit.

    Raises:
        InputError: no rows, or another suffix than .png.
    """
    maps = [row.result.anomaly_map for row in rows]
    low = min(threshold, *(float(m.min()) for m in maps))
    high = max(threshold, *(float(m.max()) for m in maps))
    headers = ("input", "reconstruction", "anomaly map", "predicted mask", "ground truth")
    shapes = [row.result.anomaly_map.shape for row in rows]
    page = _Page(headers, shapes, title, left=1.75, right=0.95)
    for i, row in enumerate(rows):
        result = row.result
        page.text(i, *_label(row))
        page.image(i, 0, row.image)
        page.image(i, 1, row.reconstruction)
        page.image(i, 2, heatmap(result.anomaly_map, low, high))
        page.image(i, 3, row.image, outline=result.predicted_mask)
        truth = result.true_mask
        if truth is None and not result.is_defective:
            truth = np.zeros(result.anomaly_map.shape, dtype=bool)
        page.image(i, 4, truth)
    page.colour_bar(low, high, threshold)
    write_png(path, page.render())


@in_style("default")
def render_grid(columns: Mapping[str, Sequence[np.ndarray]], title: str = "") -> np.ndarray:
    r"""Images side by side in named columns, for previews and TensorBoard.

    Args:
        columns: header -> one array per row, at least one: (H, W, 3) or (H, W, 1) images, float in
            [0, 1] or uint8; (H, W) bool masks, drawn black and white; other (H, W) arrays, drawn as
            heat maps from the column's minimum to its maximum. Headers may use mathtext
            ("$\hat{X}$").
        title: printed above, if any.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    first = next(iter(columns.values()))
    page = _Page(list(columns), [np.asarray(array).shape[:2] for array in first], title)
    for j, column in enumerate(columns.values()):
        for i, image in enumerate(_drawable(column)):
            page.image(i, j, image)
    return page.render()


def write_grid(path: Path, columns: Mapping[str, Sequence[np.ndarray]], title: str = "") -> None:
    """Writes `render_grid(columns, title)` to a file ending in .png, whole or not at all."""
    write_png(path, render_grid(columns, title))


class _Page:
    """A figure with one cell per image: columns of one width, rows as high as their image."""

    def __init__(
        self,
        headers: Sequence[str],
        shapes: Sequence[tuple[int, ...]],
        title: str,
        left: float = 0.0,
        right: float = 0.0,
    ) -> None:
        lowest = _LABEL_HEIGHT if left else 0.0
        self._heights = [max(lowest, _CELL * min(h / w, 1.5)) for h, w in shapes]
        self._left = _MARGIN + left
        self._width = self._left + len(headers) * (_CELL + _GAP) - _GAP + right + _MARGIN
        # 0.12 inches: a wide letter at the title's size.
        titles = textwrap.wrap(printable(title), int((self._width - 2 * _MARGIN) / 0.12))
        self._top = _MARGIN + len(titles) * _TITLE_LINE + _HEADER
        self._height = self._top + sum(self._heights) + _GAP * (len(shapes) - 1) + _MARGIN
        self._figure = Figure(figsize=(self._width, self._height), dpi=_DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)
        for i, line in enumerate(titles):
            self._write(_MARGIN, _MARGIN + i * _TITLE_LINE, line, size=13, weight="bold", va="top")
        for j, header in enumerate(headers):
            x = self._left + j * (_CELL + _GAP) + _CELL / 2
            self._write(
                x, self._top - 0.08, header, size=10, ha="center", va="bottom", parse_math=True
            )

    def text(self, row: int, heading: str, lines: Sequence[str], colour: str) -> None:
        """Writes a heading and coloured last line, with more lines between, left of a row."""
        y = self._offset(row) + 0.02
        for i, line in enumerate((heading, *lines)):
            size, weight = (10.5, "bold") if i == 0 else (8.5, "normal")
            color = colour if i == len(lines) else "black"
            self._write(_MARGIN, y, line, va="top", size=size, weight=weight, color=color)
            y += 0.22 if i == 0 else 0.17

    def image(
        self, row: int, column: int, image: np.ndarray | None, outline: np.ndarray | None = None
    ) -> None:
        """Draws an image or bool mask scaled to its cell, or "no mask" in place of None."""
        left = self._left + column * (_CELL + _GAP)
        height = self._heights[row]
        axes = self._axes(left, self._offset(row), _CELL, height)
        if image is None:
            axes.set_facecolor("0.94")
            axes.text(0.5, 0.5, "no mask", ha="center", va="center", size=9, color="0.4")
            return
        # A mask is scaled before it becomes an image: see fit_into.
        image = image if image.dtype == bool else as_rgb(image)
        shown = as_rgb(fit_into(image, _CELL * _DPI, height * _DPI))
        if outline is not None:
            shown = overlay(shown, fit_into(outline, _CELL * _DPI, height * _DPI))
        # Already at the size on paper: interpolation here would blur it a second time.
        axes.imshow(shown, interpolation="nearest")

    def colour_bar(self, low: float, high: float, threshold: float) -> None:
        """Draws the scale of the heat maps at the right edge and marks the threshold on it."""
        height = min(self._height - self._top - _MARGIN, 2.5 * _CELL)
        left = self._width - _MARGIN - 0.8
        axes = self._axes(left, self._top, 0.16, height)
        high = max(high, low + float(np.finfo(np.float32).eps))
        scale = ScalarMappable(Normalize(low, high), COLORMAP)
        bar = self._figure.colorbar(scale, cax=axes)
        bar.ax.tick_params(labelsize=7.5)
        bar.outline.set_linewidth(0.5)
        bar.ax.axhline(threshold, color="white", linewidth=3)
        bar.ax.axhline(threshold, color="#00c040", linewidth=1.5)
        self._write(left, self._top - 0.08, f"threshold\n{threshold:.3g}", size=8, color="#008030")

    def render(self) -> np.ndarray:
        """The page as (height, width, 3) uint8 RGB."""
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def _offset(self, row: int) -> float:
        return self._top + sum(self._heights[:row]) + _GAP * row

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without ticks at a place given in inches from the top left corner."""
        inches = np.array([left, self._height - top - height, width, height])
        whole = np.array([self._width, self._height] * 2)
        axes = self._figure.add_axes(tuple(inches / whole), xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(linewidth=0.5, color="0.6")
        return axes

    def _write(self, x: float, y: float, text: str, **style: Any) -> None:
        style = {"parse_math": False, **style}  # A dollar in a file's name is no formula.
        self._figure.text(x / self._width, 1 - y / self._height, text, **style)


def _label(row: SheetRow) -> tuple[str, list[str], str]:
    """Heading, lines and colour of the verdict (green when right, red when wrong)."""
    result = row.result
    name = printable(Path(result.path).name)
    right = result.is_anomalous == result.is_defective
    verdict = "anomalous" if result.is_anomalous else "normal"
    lines = [
        name if len(name) <= 24 else f"{name[:11]}…{name[-12:]}",
        f"score {result.score:.4g}",
        f"{verdict}: {'right' if right else 'wrong'}",
    ]
    return row.label, lines, "#008030" if right else "#c00000"


def fit_into(array: np.ndarray, width: float, height: float) -> np.ndarray:
    """An image or a bool mask scaled into a box of so many pixels, proportions kept."""
    scale = min(width / array.shape[1], height / array.shape[0])
    size = max(1, round(array.shape[1] * scale)), max(1, round(array.shape[0] * scale))
    if array.dtype == bool:
        if scale >= 1:
            return cv2.resize(array.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        # Any share of a pixel counts: a thin region must not vanish in a small image.
        return cv2.resize(array.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    # Well enlarged, an image shows its pixels as they are; a little, they would look uneven.
    enlarged = cv2.INTER_LINEAR if scale < 2 else cv2.INTER_NEAREST
    method = cv2.INTER_AREA if scale < 1 else enlarged
    return cv2.resize(array, size, interpolation=method)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 from (H, W, 3), (H, W, 1) or (H, W), float in [0, 1], uint8 or bool."""
    array = np.asarray(image)
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8:
        array = np.round(np.clip(array.astype(np.float64), 0, 1) * 255).astype(np.uint8)
    if array.ndim == 2:
        array = array[..., None]
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _drawable(column: Sequence[np.ndarray]) -> Iterable[np.ndarray]:
    """A grid column with its maps in colours, all scaled to the column's range."""
    arrays = [np.asarray(array) for array in column]
    maps = [array for array in arrays if array.ndim == 2 and array.dtype != bool]
    low = min((float(m.min()) for m in maps), default=0.0)
    high = max((float(m.max()) for m in maps), default=1.0)
    for array in arrays:
        is_map = array.ndim == 2 and array.dtype != bool
        yield heatmap(array, low, high) if is_map else array
