"""Golden images: a few that go with a run and its artefacts, with the scores they have there.

Good images of calibration and corrupted copies of them, as 8-bit PNG at the inspection size. They
are the user's own. A machine that scores them otherwise does not inspect as the one that made the
run or artefact did: `ssae-tf selftest`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssae_tf.corruption.held_out import corrupted_copies
from ssae_tf.data.cache import resize
from ssae_tf.data.images import read_image, write_png
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, RunError
from ssae_tf.files import write_json
from ssae_tf.result import Inspector
from ssae_tf.run_folder import GOLDEN_FILE, GOLDEN_FOLDER, GOLDEN_IMAGES
from ssae_tf.schemas import GoldenFile, read
from ssae_tf.scoring.threshold import image_score, is_anomalous

SCHEMA_VERSION = 1
# The side that more is cut off from where a run inspects images in their own size.
_LARGEST = 512


@dataclass(frozen=True)
class Compared:
    """A golden image here and where it was made.

    Attributes:
        name: of its file.
        expected, score: its score there and here.
        difference: of the two; above the threshold divided by how many times as high the expected
            one is, as in the comparison of artefacts.
        was_anomalous, is_anomalous: the verdict there and here.
    """

    name: str
    expected: float
    score: float
    difference: float
    was_anomalous: bool
    is_anomalous: bool


def write_golden(
    folder: Path, detector: Detector, images: Sequence[Path], size: tuple[int, int] | None = None
) -> None:
    """Writes golden images and what a detector says of them; nothing where none can be read.

    Args:
        folder: of a run or artefact; they go into `golden` there.
        detector: calibrated.
        images: good ones that training has not seen, of which the first readable ones are taken.
        size: (height, width) of the golden images; None for the inspection size, or where images
            are inspected in their own size, that, of which at most 512² are kept.

    Raises:
        RunError: they can't be written.
    """
    calibration = detector.calibrated()
    scores = {}
    out = folder / GOLDEN_FOLDER
    readable = _readable(detector, images, size)
    for index, (names, image) in enumerate(zip(GOLDEN_IMAGES, readable, strict=False)):
        corrupted = corrupted_copies(image[None], (0, index))[0]
        for name, x in zip(names, (image, corrupted), strict=True):
            write_png(out / name, np.round(255.0 * x).astype(np.uint8))
            result = detector.predict(out / name)
            scores[name] = {"score": result.score, "is_anomalous": result.is_anomalous}
    if scores:
        rule = {"threshold": calibration.threshold, "min_area": calibration.min_area}
        content = {"schema_version": SCHEMA_VERSION, **rule, "images": scores}
        write_json(out / GOLDEN_FILE, content)


def compare_golden(inspector: Inspector, folder: Path) -> Iterator[Compared]:
    """Inspects the golden images of a run's or artefact's folder by the rule they were made with.

    Raises:
        RunError: there are none, or they are damaged.
        DataError: an image can't be read.
    """
    path = folder / GOLDEN_FOLDER / GOLDEN_FILE
    if not path.is_file():
        raise RunError(
            f"{folder}: has no {GOLDEN_FOLDER}/{GOLDEN_FILE}, so there is nothing to compare with: "
            "`ssae-tf fit` and `ssae-tf export` write it."
        )
    golden = read(path, GoldenFile)
    for name, expected in golden.images.items():
        map_ = inspector.predict(path.parent / name).anomaly_map
        # Not the result's own score: `calibrate` may have set another area since.
        score = image_score(map_, min(golden.min_area, map_.size))
        times = max(1.0, expected.score / golden.threshold) if golden.threshold > 0.0 else 1.0
        yield Compared(
            name=name,
            expected=expected.score,
            score=score,
            difference=abs(score - expected.score) / times,
            was_anomalous=expected.is_anomalous,
            is_anomalous=is_anomalous(score, golden.threshold),
        )


def _readable(
    detector: Detector, images: Sequence[Path], size: tuple[int, int] | None
) -> Iterator[np.ndarray]:
    """Images as they are kept, (H, W, 3) float32 in [0, 1]."""
    wanted = size or detector.inspection_size
    for path in images:
        try:
            image = read_image(path, detector.config.data.white_level)
        except DataError:
            # Calibration has told of it.
            continue
        yield _middle(image) if wanted is None else resize(image, *wanted)


def _middle(image: np.ndarray) -> np.ndarray:
    top, left = (max(0, side - _LARGEST) // 2 for side in image.shape[:2])
    return image[top : top + _LARGEST, left : left + _LARGEST]
