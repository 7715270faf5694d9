"""The embedded sample data set: rendered surfaces with defects, in MVTec AD layout.

It is made by this module and bears no licence of its own; it serves the demo
and the tests. Every image has its own random seed, derived from its name, so
that an image does not depend on which others are asked for.
"""

import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ssae_tf.data.images import encode_png
from ssae_tf.errors import DataError
from ssae_tf.sample_data.defects import DEFECTS
from ssae_tf.sample_data.textures import FloatArray, Surface, Tile, Weave

CATEGORIES = ("tile", "weave")
GOOD = "good"

_SURFACES: Mapping[str, Callable[..., Surface]] = {"tile": Tile, "weave": Weave}
# Half the width in pixels of what counts as defect though it did not change: between two
# fallen chips or two floating threads the surface is not intact, beside a crack it is.
_GAP = {"crack": 1, "stain": 2, "missing_grain": 3, "broken_thread": 5, "misweave": 6}
_NOISE = 0.01
_VISIBLE_CHANGE = 0.02


@dataclass(frozen=True)
class Sample:
    """One rendered image.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        intact: (H, W, 3) uint8, RGB, the same surface, light and sensor noise without
            the defect. Outside the mask it equals `image` bit for bit.
        mask: (H, W) bool, the defect; all false in a good image.
    """

    image: NDArray[np.uint8]
    intact: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def draw_sample(
    category: str,
    split: str,
    kind: str,
    index: int,
    *,
    size: int | tuple[int, int] = 256,
    seed: int = 0,
) -> Sample:
    """Renders one image of the sample data set, without writing it.

    Args:
        category: one of `CATEGORIES`.
        split: "train" or "test"; it only enters the seed.
        kind: "good" or a kind of defect of the category.
        index: number of the image within its folder.
        size: side of the square image in pixels, or (H, W); at least 32.
        seed: seed of the whole set, not negative.

    Returns:
        The image, its intact counterpart and the mask.
    """
    shape = (size, size) if isinstance(size, int) else size
    name = zlib.crc32(f"{category}/{split}/{kind}".encode())
    surface_rng, noise_rng, defect_rng = (
        np.random.default_rng(child)
        for child in np.random.SeedSequence([seed, name, index]).spawn(3)
    )
    surface = _SURFACES[category](surface_rng, shape)
    noise = _NOISE * noise_rng.standard_normal((*shape, 3), dtype=np.float32)
    intact = surface.render()
    if kind == GOOD:
        image = _quantise(intact + noise)
        return Sample(image, image, np.zeros(shape, bool))
    changed = DEFECTS[category][kind](surface, defect_rng)
    mask = _mask_of_change(intact, changed, _GAP[kind])
    # Changes too faint to count as defect are undone, so that the mask is the whole truth.
    changed = np.where(mask[..., None], changed, intact)
    return Sample(_quantise(changed + noise), _quantise(intact + noise), mask)


def write_sample_data(
    root: Path,
    *,
    categories: Sequence[str] = CATEGORIES,
    train: int = 40,
    test_good: int = 12,
    per_kind: int = 8,
    size: int | tuple[int, int] = 256,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Writes the sample data set as 8-bit PNG files in MVTec AD layout.

    All images are made in a temporary folder beside the categories and moved
    into place at the end: a category is there completely or not at all.

    Args:
        root: folder that gets a folder per category; made if absent.
        categories: which of `CATEGORIES` to write, each once.
        train: images in `train/good`.
        test_good: images in `test/good`.
        per_kind: images, each with a mask, per kind of defect.
        size: as in `draw_sample`.
        seed: the same seed gives the same bytes.
        overwrite: replace category folders that exist.

    Returns:
        `root`.

    Raises:
        DataError: a category folder exists and is not empty, or cannot be written.
    """
    for category in categories:
        _check_target(root / category, overwrite)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".sample-data-", dir=root) as staging:
            for category in categories:
                folder = Path(staging) / category
                for split, kind, count in _contents(category, train, test_good, per_kind):
                    _write_folder(folder, split, kind, count, size=size, seed=seed)
            for category in categories:
                _move_into_place(Path(staging) / category, root / category)
    except OSError as error:
        raise DataError(f"Cannot write the sample data to {root}: {error}") from error
    return root


def _check_target(target: Path, overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file; the sample data needs a folder there.")
    if not overwrite and target.is_dir() and any(target.iterdir()):
        raise DataError(f"{target} exists and is not empty; pass overwrite=True to replace it.")


def _contents(
    category: str, train: int, test_good: int, per_kind: int
) -> list[tuple[str, str, int]]:
    """(split, kind, number of images) of every folder of a category."""
    defects = [("test", kind, per_kind) for kind in DEFECTS[category]]
    return [("train", GOOD, train), ("test", GOOD, test_good), *defects]


def _write_folder(
    category: Path, split: str, kind: str, count: int, *, size: int | tuple[int, int], seed: int
) -> None:
    images, masks = category / split / kind, category / "ground_truth" / kind
    for folder in (images,) if kind == GOOD else (images, masks):
        folder.mkdir(parents=True)
    for index in range(count):
        sample = draw_sample(category.name, split, kind, index, size=size, seed=seed)
        (images / f"{index:03d}.png").write_bytes(encode_png(sample.image))
        if kind != GOOD:
            (masks / f"{index:03d}_mask.png").write_bytes(encode_png(sample.mask))


def _move_into_place(finished: Path, target: Path) -> None:
    if not target.exists():
        finished.rename(target)
        return
    # Into the staging folder, which takes it away with everything else in it.
    replaced = finished.with_name(f"{finished.name}.replaced")
    target.rename(replaced)
    try:
        finished.rename(target)
    except OSError:
        replaced.rename(target)
        raise


def _quantise(image: FloatArray) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(image, 0.0, 1.0) * 255.0), np.uint8)


def _mask_of_change(intact: FloatArray, changed: FloatArray, gap: int) -> NDArray[np.bool_]:
    """Pixels that differ visibly, with gaps closed and a margin of one pixel: (H, W) bool."""
    mask = np.abs(changed - intact).max(axis=-1) > _VISIBLE_CHANGE
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * gap + 1, 2 * gap + 1))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    # Single pixels that happen to cross the limit would be components of their own.
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    kept = opened if opened.any() else closed
    return np.asarray(cv2.dilate(kept, np.ones((3, 3), np.uint8)), bool)
