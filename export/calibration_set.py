"""The images that an artefact is made by: what int8 is calibrated on, and warm-up goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssae_tf.corruption.held_out import corrupted_copies
from ssae_tf.data.cache import resize
from ssae_tf.data.images import read_image, to_unit
from ssae_tf.detector import Detector

# Images that int8 is calibrated on, each of them twice: the converter runs all of the graph on
# them, four signatures and without fast kernels.
_CALIBRATION = 16


@dataclass(frozen=True)
class CalibrationSet:
    """Good images that training has not seen, and corrupted copies: like what will be inspected.

    Attributes:
        detector: whose they are.
        paths: at least one.
        image_size: (height, width) that they are resized to; None for their own.
        seed: of corruption. The comparison has other corrupted copies.
    """

    detector: Detector
    paths: Sequence[Path]
    image_size: tuple[int, int] | None
    seed: int

    def pixels(self, index: int) -> np.ndarray:
        """An image of the artefact's size, (H, W, 3) uint8; after the last comes the first."""
        path = self.paths[index % len(self.paths)]
        unit = read_image(path, self.detector.config.data.white_level)
        if self.image_size is not None:
            unit = resize(unit, *self.image_size)
        return np.round(255.0 * unit).astype(np.uint8)

    def write(self, folder: Path) -> list[str]:
        """Writes the calibration set: .npy files, (H, W, 3) uint8.

        All are cut to the height and width that all have, since the converter takes one size.
        Every image is there as it is and corrupted, because rare values decide the ranges.
        """
        folder.mkdir()
        whole = [self.pixels(index) for index in range(min(_CALIBRATION, len(self.paths)))]
        height, width = np.min([one.shape[:2] for one in whole], axis=0)
        paths = []
        for index, pixels in enumerate(one[:height, :width] for one in whole):
            x_hat = corrupted_copies(to_unit(pixels)[None], (self.seed + 1, index))[0]
            for name, content in ("", pixels), ("_corrupted", np.round(255.0 * x_hat)):
                paths.append(folder / f"{index}{name}.npy")
                np.save(paths[-1], content.astype(np.uint8))
        return [str(path.resolve()) for path in paths]
