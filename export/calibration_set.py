"""The images that an artefact is made by: what int8 is calibrated on, and warm-up goes by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssae_tf.corruption.held_out import corrupted_copies
from ssae_tf.data.cache import resize
from ssae_tf.data.images import read_image, to_unit


def read_resized(path: Path, white_level: int, image_size: tuple[int, int] | None) -> np.ndarray:
    """An image at the (height, width) of an artefact or its own, (H, W, 3) float32 in [0, 1]."""
    image = read_image(path, white_level)
    return image if image_size is None else resize(image, *image_size)


def write_calibration_set(folder: Path, images: Sequence[np.ndarray], seed: int) -> list[str]:
    """Writes what int8 is calibrated on: .npy files, (H, W, 3) uint8.

    All are cut to the height and width that all have, since the converter takes one size.
    Every image is there as it is and corrupted, because rare values decide the ranges.

    Args:
        folder: made.
        images: (H, W, 3) uint8, good ones that training has not seen.
        seed: of corruption. The comparison has other corrupted copies.
    """
    folder.mkdir()
    height, width = np.min([one.shape[:2] for one in images], axis=0)
    paths = []
    for index, pixels in enumerate(one[:height, :width] for one in images):
        x_hat = corrupted_copies(to_unit(pixels)[None], (seed + 1, index))[0]
        for name, content in ("", pixels), ("_corrupted", np.round(255.0 * x_hat)):
            paths.append(folder / f"{index}{name}.npy")
            np.save(paths[-1], content.astype(np.uint8))
    return [str(path.resolve()) for path in paths]
