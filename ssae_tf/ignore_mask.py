"""The file of a mask of what never counts: read, kept in the run, compared with the images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ssae_tf.config import RunConfig, ScoringConfig
from ssae_tf.data.images import read_mask, write_png
from ssae_tf.errors import DataError
from ssae_tf.ops.resampling import nearest
from ssae_tf.run_folder import IGNORE_FILE
from ssae_tf.scoring.ignored import Ignored
from ssae_tf.scoring.threshold import default_min_area

# Pixels: of a mask with longer sides, every artefact would hold so much the more.
_LARGEST_SIDE = 4096
# By how much the ratio of height to width may differ from the images': small masks are rounded.
_ASPECT = 0.05


def read_ignore_mask(path: str | Path) -> np.ndarray:
    """Reads a mask.

    Args:
        path: as in `read_mask`: what is not black is ignored.

    Returns:
        (h, w) bool, true for ignored, no side above 4096.

    Raises:
        DataError: it can't be read, or ignores everything.
    """
    mask = read_mask(path)
    if mask.all():
        raise DataError(
            f"{path}: ignores all of every image: expected a mask that is black where images count."
        )
    height, width = (min(side, _LARGEST_SIDE) for side in mask.shape)
    return np.asarray(nearest(mask[None, ..., None], height, width)[0, ..., 0])


def own_ignore_mask(folder: Path, scoring: ScoringConfig) -> np.ndarray | None:
    """The mask of a training: the run's own, or the one it was asked for with, which is kept.

    Returns:
        As `read_ignore_mask`; None where there is to be none.

    Raises:
        DataError: as `read_ignore_mask`.
        WriteError: the folder can't be written to.
    """
    if scoring.ignore is None:
        return None
    if (folder / IGNORE_FILE).is_file():
        return read_ignore_mask(folder / IGNORE_FILE)
    mask = read_ignore_mask(scoring.ignore)
    write_png(folder / IGNORE_FILE, mask)
    return mask


def check_ignored(
    ignored: Ignored, images: Mapping[tuple[int, int], Path], config: RunConfig
) -> str:
    """Compares what is ignored with the images.

    Args:
        images: (height, width) of all images, each with the path of one that has it.

    Returns:
        A sentence with the share of an image that is ignored.

    Raises:
        DataError: the mask has another aspect ratio than an image, or hardly anything of one is
            left.
    """
    shares = []
    for (height, width), path in images.items():
        if ignored.mask is not None:
            _check_aspect(ignored.mask, height, width, path, config.scoring.ignore)
        left = int(np.count_nonzero(ignored.counted(height, width)))
        least = config.min_area or default_min_area(height, width)
        if left < least:
            raise DataError(
                f"{path}: of its {width}×{height} pixels {left} are left where nothing is ignored; "
                f"expected at least the {least} that a defect must have: a smaller --border, or "
                "more black in the --ignore mask."
            )
        shares.append(100.0 * (1.0 - left / (height * width)))
    low, high = (f"{share:.1f}" for share in (min(shares), max(shares)))
    return f"{low if low == high else f'{low} to {high}'} % of each image is ignored."


def _check_aspect(
    mask: np.ndarray, height: int, width: int, path: Path, source: str | None
) -> None:
    ratio = mask.shape[0] * width / (mask.shape[1] * height)
    if max(ratio, 1.0 / ratio) > 1.0 + _ASPECT:
        raise DataError(
            f"{source}: has {mask.shape[1]}×{mask.shape[0]} pixels and {path} {width}×{height}: "
            "expected a mask of the same aspect ratio, or it would lie elsewhere."
        )
