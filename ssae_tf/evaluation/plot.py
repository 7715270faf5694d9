"""One result as a matplotlib figure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.style import context as in_style

from ssae_tf.errors import count_of, printable
from ssae_tf.evaluation.sheets import COLORMAP, fit_into, overlay

if TYPE_CHECKING:
    from ssae_tf.result import Result

# Pixels that are drawn of an image's longer side.
_LARGEST = 1000


class _Shown(Figure):
    """A figure that notebooks show, whether pyplot is imported or not."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


@in_style("default")
def plot(result: Result) -> Figure:
    """The image with outlines of the defects beside its anomaly map; axes count its pixels.

    Drawn through matplotlib's object interface: no display and no backend is needed, and pyplot
    keeps no reference to the figure.
    """
    height, width = result.mask.shape
    figure = _Shown(figsize=(10, 1.2 + 4.2 * min(1.5, height / width)), layout="constrained")
    FigureCanvasAgg(figure)
    image_axes, map_axes = figure.subplots(1, 2)
    edges = (0, width, height, 0)
    image, mask, map_ = (_small(one) for one in (result.image, result.mask, result.anomaly_map))
    image_axes.imshow(overlay(image, mask), extent=edges)
    # Twice the threshold is the brightest, as in the files of `predict --out`.
    high = 2 * result.threshold if result.threshold > 0 else float(map_.max()) or 1.0
    shown = map_axes.imshow(map_, extent=edges, cmap=COLORMAP, vmin=0, vmax=high)
    bar = figure.colorbar(shown, ax=map_axes, label="anomaly map")
    bar.ax.axhline(result.threshold, color="#00c040", linewidth=1.5)
    image_axes.set_title(count_of(len(result.defects), "defect"))
    map_axes.set_title(f"threshold {result.threshold:.3g}")
    verdict = "anomalous" if result.is_anomalous else "normal"
    name = f"{printable(result.path)}: " if result.path else ""
    # A dollar in a file's name is no formula.
    figure.suptitle(f"{name}{verdict}, score {result.score:.3g}", parse_math=False)
    return figure


def _small(array: np.ndarray) -> np.ndarray:
    """An image, map or mask no larger than a screen."""
    return fit_into(array, _LARGEST, _LARGEST) if max(array.shape[:2]) > _LARGEST else array
