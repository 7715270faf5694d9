"""The gate that every artefact passes: reloaded in its own runtime, it must judge as the detector.

Compared are the run's validation images and corrupted ones of them, at their own size and at
another, odd one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.corruption.held_out import corrupted_copies
from ssae_tf.data.images import encode_png, to_unit
from ssae_tf.detector import Detector
from ssae_tf.errors import RunError, count_of
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.calibration_set import read_resized
from ssae_tf.export.names import ANOMALY_MAP, ENCODED, IS_ANOMALOUS, PIXELS, SCORE_BOUND
from ssae_tf.progress import Reporter
from ssae_tf.result import post_process

SCHEMA_VERSION = 1
# Of the first so many images a corrupted copy is compared too, and both at the other size.
CORRUPTED = 8
# Share of height and width that the other size keeps; made odd.
_SHARES = 0.625, 0.75
# More sizes than these are summed up.
_LISTED_SIZES = 3


@dataclass(frozen=True)
class Case:
    """One image to compare on.

    Attributes:
        name: of the image and what was done to it.
        image: (H, W, 3) float32 in [0, 1].
    """

    name: str
    image: np.ndarray


@dataclass
class Parity:
    """What the comparison found; the content of parity.json.

    Attributes:
        tolerance: what `map_deciding` may be, in the map's unit.
        passed: whether the artefact may be used.
        failures: one sentence for each thing that may not be.
        n: images compared.
        sizes: (height, width) of them.
        map_largest, map_mean: absolute differences of the map.
        map_deciding: the largest of them when those above the threshold are divided by how many
            times as high the map is there: what is compared with the tolerance, because a tenth
            more of what is far above the threshold decides nothing.
        score_largest, score_mean: those of the image score.
        flipped: names of the images with another verdict, most often because their score lies at
            the threshold.
    """

    tolerance: float
    passed: bool = False
    failures: list[str] = field(default_factory=list)
    n: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)
    map_largest: float = 0.0
    map_mean: float = 0.0
    map_deciding: float = 0.0
    score_largest: float = 0.0
    score_mean: float = 0.0
    flipped: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The content of parity.json."""
        counts = {"schema_version": SCHEMA_VERSION, "n_flipped": len(self.flipped)}
        return {**counts, **dataclasses.asdict(self)}

    def sentence(self) -> str:
        """The figures for a person."""
        sizes = " and ".join(f"{height}×{width}" for height, width in self.sizes)
        if len(self.sizes) > _LISTED_SIZES:
            by_area = sorted(self.sizes, key=lambda size: size[0] * size[1])
            (height, width), (most_high, most_wide) = by_area[0], by_area[-1]
            sizes = f"{len(by_area)} sizes from {height}×{width} to {most_high}×{most_wide}"
        return (
            f"{self.n} images of {sizes}: map differs by {self.map_largest:.1e} at most, at "
            f"the threshold by {self.map_deciding:.1e} (tolerance {self.tolerance:.1e}), and by "
            f"{self.map_mean:.1e} on average, score by "
            f"{self.score_largest:.1e} and {self.score_mean:.1e}, {len(self.flipped)} of {self.n} "
            "verdicts flipped."
        )


def cases(
    images: Sequence[Path],
    white_level: int,
    image_size: tuple[int, int] | None = None,
    seed: int = 0,
) -> list[Case]:
    """What artefacts are compared on.

    Args:
        images: normal ones, at least one.
        white_level: the value of a 16-bit file that becomes 1.0.
        image_size: (height, width) that all are resized to, for artefacts that take no other; None
            for their own size and, for some, another.

    Returns:
        The images, then corrupted copies of the first 8, then these 16 at the other size.

    Raises:
        DataError: an image can't be read.
    """
    normal, corrupted = [], []
    for index, path in enumerate(images):
        image = read_resized(path, white_level, image_size)
        normal.append(Case(path.name, image))
        if index < CORRUPTED:
            x_hat = corrupted_copies(image[None], (seed, index))[0]
            corrupted.append(Case(f"{path.name}, corrupted", x_hat))
    smaller = [] if image_size is not None else [*normal[:CORRUPTED], *corrupted]
    return [*normal, *corrupted, *(_cropped(case) for case in smaller)]


def what_is_compared(images: int, has_other_size: bool) -> str:
    """A sentence about `cases`, before a wait."""
    corrupted = min(images, CORRUPTED)
    parts = [
        count_of(images, "good one"),
        "1 corrupted copy" if corrupted == 1 else f"{corrupted} corrupted copies",
    ]
    if has_other_size:
        parts.append(f"{2 * corrupted} of these at another size")
    count = images + corrupted + 2 * corrupted * has_other_size
    return (
        f"Comparing map and verdict of artefact and detector on {count} images: {', '.join(parts)}."
    )


def compare(
    detector: Detector,
    artefact: Artefact,
    compared: Sequence[Case],
    tolerance: float,
    reporter: Reporter,
) -> Parity:
    """Compares an artefact with the detector it was made of.

    Args:
        tolerance: largest `Parity.map_deciding` that passes. A verdict may flip where the
            detector's score is no further from the threshold.
    """
    parity = Parity(tolerance)
    min_area = detector.calibrated().min_area
    differences = []
    with reporter.task("Comparing", len(compared)) as task:
        for case in compared:
            try:
                answer = artefact.run(case.image[None])
            except RunError as error:
                parity.failures.append(f"{case.name}: {error}")
                break
            expected = detector.predict(case.image)
            difference = _difference(parity, case, expected, answer, min_area)
            if difference is not None:
                differences.append(difference)
            size = case.image.shape[0], case.image.shape[1]
            if size not in parity.sizes:
                parity.sizes.append(size)
                _check_other_inputs(parity, artefact, case, answer)
            parity.n += 1
            task.advance()
    if differences:
        largest, mean, deciding, score = np.transpose(differences)
        parity.map_deciding = float(deciding.max())
        parity.map_largest, parity.map_mean = float(largest.max()), float(mean.mean())
        parity.score_largest, parity.score_mean = float(score.max()), float(score.mean())
    if parity.map_deciding > tolerance:
        parity.failures.append(
            f"The map differs by {parity.map_deciding:.2g} at the threshold, more than "
            f"{tolerance:.2g}."
        )
    parity.passed = not parity.failures
    return parity


def _difference(
    parity: Parity, case: Case, expected: Any, answer: dict[str, np.ndarray], min_area: int
) -> tuple[float, float, float, float] | None:
    """Largest, mean and deciding difference of the map, and the score's; None without a map."""
    map_ = answer[ANOMALY_MAP][0]
    if map_.shape != expected.anomaly_map.shape:
        parity.failures.append(
            f"{case.name}: the map has shape {map_.shape}, not {expected.anomaly_map.shape}."
        )
        return None
    if not all(np.isfinite(value).all() for value in answer.values()):
        parity.failures.append(f"{case.name}: NaN or infinity.")
        return None
    threshold = float(expected.threshold)
    own = post_process("", case.image, None, map_, threshold, min_area)
    if float(answer[SCORE_BOUND][0]) < own.score:
        parity.failures.append(f"{case.name}: the score exceeds score_bound.")
    if IS_ANOMALOUS in answer and bool(answer[IS_ANOMALOUS][0]) != own.is_anomalous:
        parity.failures.append(f"{case.name}: the graph's verdict is not that of its own map.")
    if own.is_anomalous != expected.is_anomalous:
        parity.flipped.append(case.name)
        distance = abs(expected.score - threshold)
        if distance > parity.tolerance:
            parity.failures.append(
                f"{case.name}: flipped, its score {distance:.2g} from the threshold."
            )
    apart = np.abs(map_ - expected.anomaly_map)
    times = np.maximum(1.0, expected.anomaly_map / threshold) if threshold > 0.0 else 1.0
    deciding = float((apart / times).max())
    return float(apart.max()), float(apart.mean()), deciding, abs(own.score - expected.score)


def _check_other_inputs(
    parity: Parity, artefact: Artefact, case: Case, answer: dict[str, np.ndarray]
) -> None:
    """Pixels, files, batches and thresholds: once for each size, because the network is one."""
    pixels = np.round(255.0 * case.image).astype(np.uint8)
    others = {PIXELS: pixels[None], ENCODED: np.array([encode_png(pixels)], object)}
    try:
        batch = artefact.run(np.stack([case.image, to_unit(pixels)]))[ANOMALY_MAP]
        _expect_equal(parity, f"{case.name}, in a batch", answer[ANOMALY_MAP][0], batch[0])
        for signature in set(others) & set(artefact.metadata["signatures"]):
            map_ = artefact.run(others[signature])[ANOMALY_MAP][0]
            _expect_equal(parity, f"{case.name}, {signature}", batch[1], map_)
        if artefact.format.takes_threshold:
            for threshold, expected in ((-1.0, True), (2.0 * float(batch.max()) + 1.0, False)):
                given = artefact.run(case.image[None], threshold=threshold)
                if bool(given[IS_ANOMALOUS][0]) != expected:
                    parity.failures.append(f"{case.name}: a given threshold is without effect.")
    except RunError as error:
        parity.failures.append(f"{case.name}: {error}")


def _expect_equal(parity: Parity, what: str, expected: np.ndarray, map_: np.ndarray) -> None:
    difference = float(np.abs(map_ - expected).max()) if map_.shape == expected.shape else np.inf
    # Not `>`, which NaN would pass.
    if not difference <= parity.tolerance:
        parity.failures.append(f"{what}: the map differs by {difference:.2g}.")


def _cropped(case: Case) -> Case:
    """The upper left corner, height and width odd, which no network's multiple fits."""
    height, width = (
        max(1, int(share * side) // 2 * 2 - 1)
        for share, side in zip(_SHARES, case.image.shape[:2], strict=True)
    )
    return Case(f"{case.name}, {height}×{width}", case.image[:height, :width])
