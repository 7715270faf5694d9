"""The pictures that an artefact is made by: what ranges, rounding and warm-up go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssae_tf.config import DOWNSAMPLING
from ssae_tf.data.cache import resize
from ssae_tf.data.images import read_pixels, to_unit
from ssae_tf.detector import Detector
from ssae_tf.export.parity import cases, corrupted_copies
from ssae_tf.tensor_ops import pad_reflect, shrink

# Pictures that a converter's own ranges are found on, and of how many one is corrupted too.
_CALIBRATION, _CORRUPTED_OF = 64, 2
# Crops that weights are rounded by, pixels a side.
_CROPS, _CROP = 32, 128
# Pictures that ranges are found on, each of them twice, and pixels: of all of them, and a side.
_SEEN, _SEEN_PIXELS, _LARGEST = 96, 24_000_000, 1024
# Pictures that losses are measured on, some of them in other forms too, and pixels of all of them.
_MEASURED, _MEASURED_PIXELS = 48, 6_000_000


@dataclass(frozen=True)
class Pictures:
    """Good pictures that training has not seen, and corrupted copies: like what will be inspected.

    Attributes:
        detector: whose they are.
        paths: at least one.
        image_size: (height, width) that they are resized to; None for their own.
        seed: of corruption and crops. The comparison has other corrupted copies.
    """

    detector: Detector
    paths: Sequence[Path]
    image_size: tuple[int, int] | None
    seed: int

    def pixels(self, index: int) -> np.ndarray:
        """A picture of the artefact's size, (H, W, 3) uint8; after the last comes the first."""
        path = self.paths[index % len(self.paths)]
        unit = to_unit(read_pixels(path), self.detector.config.data.white_level)
        if self.image_size is not None:
            unit = resize(unit, *self.image_size)
        return np.round(255.0 * unit).astype(np.uint8)

    def write(self, folder: Path) -> list[str]:
        """Writes .npy files of some of them, (H, W, 3) uint8, for a converter's own calibration."""
        folder.mkdir()
        paths = []
        for index in range(min(_CALIBRATION, len(self.paths))):
            contents = {f"{index}.npy": self.pixels(index)}
            if index % _CORRUPTED_OF == 0:
                x_hat = self._corrupted(to_unit(contents[f"{index}.npy"]), index)
                contents[f"{index}_corrupted.npy"] = np.round(255.0 * x_hat).astype(np.uint8)
            for name, content in contents.items():
                paths.append(folder / name)
                np.save(paths[-1], content)
        return [str(path.resolve()) for path in paths]

    def seen(self) -> list[np.ndarray]:
        """What the network sees of them in inspection at every scale, (h, w, 3) float32 each.

        Every picture is there as it is and corrupted, because rare values decide the ranges.
        """
        config, rng = self.detector.config.scoring, np.random.default_rng(self.seed)
        found: list[np.ndarray] = []
        left = _SEEN_PIXELS
        for index in range(min(_SEEN, len(self.paths))):
            picture = self._inspected(index)
            for x in (picture, self._corrupted(picture, index)):
                for scale in config.settled.scales:
                    small = shrink(tf.constant(x[None]), scale)
                    whole = pad_reflect(small, DOWNSAMPLING, config.margin)[0].numpy()
                    found.append(_cut(whole, _LARGEST, rng))
                    left -= found[-1].shape[0] * found[-1].shape[1]
            if left < 0:
                break
        return found

    def crops(self) -> np.ndarray:
        """Crops of what the network sees, every second corrupted, (N, 128, 128, 3) float32."""
        scales = self.detector.config.scoring.settled.scales
        rng = np.random.default_rng(self.seed)
        found = []
        for index in range(_CROPS):
            picture = tf.constant(self._inspected(index)[None])
            seen = pad_reflect(shrink(picture, scales[index % len(scales)]), _CROP)[0].numpy()
            crop = _cut(seen, _CROP, rng)
            found.append(self._corrupted(crop, index) if index % 2 else crop)
        return np.stack(found)

    def measured(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """What losses are measured on: the comparison's kinds of pictures, (H, W, 3) float32.

        With each is the detector's map.
        """
        height, width = self.pixels(0).shape[:2]
        count = int(np.clip(_MEASURED_PIXELS // (height * width), 1, _MEASURED))
        white_level = self.detector.config.data.white_level
        found = cases(self.paths[:count], white_level, self.image_size, self.seed + 2)
        return [(case.picture, self.detector.inspect(case.picture)[1]) for case in found]

    def _inspected(self, index: int) -> np.ndarray:
        picture, size = to_unit(self.pixels(index)), self.detector.inspection_size
        return picture if size is None else resize(picture, *size)

    def _corrupted(self, picture: np.ndarray, index: int) -> np.ndarray:
        return corrupted_copies(picture[None], (self.seed + 1, index))[0]


def _cut(picture: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """A part at a random place, of at most so many pixels a side."""
    top, left = (rng.integers(max(length - side, 0) + 1) for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]
