"""Two plain folders as a test set: one of good images, one of defective ones."""

from __future__ import annotations

import os
from pathlib import Path

from ssae_tf.data.kinds import GOOD
from ssae_tf.data.mvtec import Category, Sample, find_images
from ssae_tf.errors import DataError

BAD = "bad"
"""The kind of the defective images, which nobody has named."""


def two_folders(good: str | Path | None, bad: str | Path | None, name: str) -> Category:
    """A category with nothing but test images, without masks.

    Args:
        good, bad: folders, searched to any depth, or files; None for none of that label.

    Raises:
        DataError: one is missing or holds no images, or an image is in both.
    """
    given = {kind: path for kind, path in ((GOOD, good), (BAD, bad)) if path is not None}
    parts = {kind: _images(Path(path)) for kind, path in given.items()}
    places = [{path.resolve() for path in paths} for paths in parts.values()]
    if len(places) == 2 and (both := places[0] & places[1]):
        raise DataError(
            f"{good} and {bad}: expected other images in each, found {len(both)} in both, such as "
            f"{min(both)}."
        )
    test = tuple(Sample(path, kind) for kind, paths in parts.items() for path in paths)
    root = Path(os.path.commonpath([sample.path.parent for sample in test]))
    return Category(root, name, (), (), test)


def _images(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError(f"{path}: no such folder.")
    # Absolute, since the two may have nothing but the root in common.
    paths = [Path(os.path.abspath(one)) for one in find_images([path])]
    if not paths:
        raise DataError(f"{path}: no images found.")
    return paths
