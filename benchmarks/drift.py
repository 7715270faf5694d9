"""Days until `ssae-tf watch` notices a camera that ages, against its false alarms a year.

The good images of a run's calibration and test set are seen by its detector as they are, darker by
1 % a day, blurred by 0.05 pixels more a day, and moved by some pixels (of the inspection size, as
the blur). Service is then drawn from these scores: so many images a day, with replacement. Each
time the images are split anew into calibration and service, so that chance is in both. What
changes does so on the 60th day.

    python benchmarks/drift.py RUN [RUN …] [--a-day 20] [--repeats 100] [--calibration 5]
        [--out FILE.json]

With --promise, what a threshold promises is compared with what is rejected instead: the good images
as they are, split into calibration and new ones, once for each seed. --more ROOT has other good
images than the run's test set, in ROOT/CATEGORY/test/good where it has any.

    python benchmarks/drift.py RUN [RUN …] --promise [--more ROOT] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure import write_result

from ssae_tf.data.images import read_image
from ssae_tf.data.kinds import GOOD
from ssae_tf.detector import Detector
from ssae_tf.run_data import run_split
from ssae_tf.scoring.conformal import FalseAlarmRate
from ssae_tf.scoring.drift import DAY, Drift
from ssae_tf.scoring.threshold import calibrate

# Days between two ages that are seen; the last age stays.
_STEP, _DAYS = 3, 45
_SHIFTS = 2, 4, 8
_CHANGES = "darker", "blurred", *(f"moved {shift}" for shift in _SHIFTS)
# A day of service on which a change begins, and how long it may take.
_BEGIN, _PATIENCE, _YEAR = 60, 180, 365
_RATES = 0.1, 1.0, 12.0
# Splits in all, and how many of them are shown one by one.
_SPLITS, _SHOWN = 200, 5
Altered = Callable[[np.ndarray], np.ndarray]


def _ages(scale: float) -> Iterator[tuple[str, Altered]]:
    """Name and effect of each change; `scale` is image pixels per inspected pixel."""
    yield "none", np.copy
    for day in range(_STEP, _DAYS + 1, _STEP):
        yield f"darker {day}", functools.partial(np.multiply, np.float32(0.99**day))
        yield f"blurred {day}", functools.partial(_blurred, sigma=0.05 * day * scale)
    for shift in _SHIFTS:
        yield f"moved {shift}", functools.partial(_moved, by=round(shift * scale))


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma))


def _moved(image: np.ndarray, by: int) -> np.ndarray:
    """An image shifted to the right and down, its border repeated."""
    padded = np.pad(image, ((by, 0), (by, 0), (0, 0)), mode="edge")
    return padded[: image.shape[0], : image.shape[1]]


def measured(run: Path) -> dict[str, list[float]]:
    """Scores of good images by the change to them: of those of calibration and of the test set."""
    detector = Detector.load(run)
    found, split = run_split(run, detector.config)
    paths = [sample.path for sample in (*split.calibrate, *found.test) if sample.kind == GOOD]
    scores: dict[str, list[float]] = {}
    for path in paths:
        image = read_image(path, detector.config.data.white_level)
        inspected = detector.inspection_size or image.shape[:2]
        for name, alter in _ages(image.shape[0] / inspected[0]):
            altered = np.clip(alter(image), 0.0, 1.0)
            scores.setdefault(name, []).append(detector.predict(altered).score)
    return scores


def _name(change: str, age: int) -> str:
    """The key of the scores after some days of a change."""
    if age < 0 or change == "none":
        return "none"
    if change in ("darker", "blurred"):
        passed = min(age // _STEP * _STEP, _DAYS)
        return f"{change} {passed}" if passed else "none"
    return change


def noticed(
    scores: dict[str, np.ndarray], change: str, images: int, rate: float, a_day: int, seed: int
) -> list[int]:
    """Days of the alarms in service: in a year without change, or the first one after it began."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(scores["none"]))
    calibration = scores["none"][order[:images]]
    drift = Drift(calibration, float(calibration.max()), alarms_per_year=rate, seed=seed)
    alarms = []
    for day in range(_YEAR if change == "none" else _BEGIN + _PATIENCE):
        seen = scores[_name(change, day - _BEGIN)][rng.choice(order[images:], a_day)]
        for number, score in enumerate(seen.tolist()):
            if drift.add(score, (day + number / a_day) * DAY) is not None:
                alarms.append(day)
        if change != "none" and alarms and alarms[-1] >= _BEGIN:
            break
    return alarms


def simulated(
    scores: dict[str, np.ndarray], images: int, a_day: int, repeats: int
) -> list[dict[str, Any]]:
    """A row for each rate: false alarms a year, and days until each change is noticed."""
    rows = []
    for rate in _RATES:
        found = {
            change: [noticed(scores, change, images, rate, a_day, seed) for seed in range(repeats)]
            for change in ("none", *_CHANGES)
        }
        # What is never noticed counts as noticed at the end.
        days = {
            change: [
                min([d for d in one if d >= _BEGIN], default=_BEGIN + _PATIENCE) - _BEGIN
                for one in found[change]
            ]
            for change in _CHANGES
        }
        rows.append(
            {
                "calibration": images,
                "accepted_a_year": rate,
                "false_alarms_a_year": sum(map(len, found["none"])) / repeats,
                "days": {
                    change: [float(np.quantile(of, q)) for q in (0.5, 0.9)]
                    for change, of in days.items()
                },
            }
        )
    return rows


def good_scores(run: Path, more: Path | None) -> tuple[str, int, list[float]]:
    """Name of a run, its calibration images, and scores of good images training has not seen."""
    detector = Detector.load(run)
    found, split = run_split(run, detector.config)
    others = sorted((more / found.name / "test" / "good").glob("*")) if more else []
    others = others or [sample.path for sample in found.test if sample.kind == GOOD]
    paths = [*(sample.path for sample in split.calibrate), *others]
    scores = [detector.predict(path).score for path in paths]
    return f"{found.name}, seed {detector.config.training.seed}", len(split.calibrate), scores


def kept_promise(scores: np.ndarray, images: int) -> dict[str, Any]:
    """What the highest score of so many images promises, and which shares of the rest exceed it."""
    promise = FalseAlarmRate(images)
    shares = []
    for seed in range(_SPLITS):
        order = np.random.default_rng(seed).permutation(len(scores))
        threshold = calibrate(scores[order[:images]])
        shares.append(float(np.mean(scores[order[images:]] > threshold)))
    new = len(scores) - images
    # The share among all parts is within the bound in 95 of 100; that among so few new ones in as
    # many as the r highest scores of all are not all of new ones, r being the first that exceeds.
    exceeding = math.floor(promise.bound * new) + 1
    return {
        **promise.to_dict(),
        "new": new,
        "shown": shares[:_SHOWN],
        "mean": float(np.mean(shares)),
        "within": float(np.mean(np.array(shares) <= promise.bound)),
        "within_expected": 1 - math.comb(new, exceeding) / math.comb(len(scores), exceeding),
        "scores": scores.tolist(),
    }


def promises(runs: list[Path], more: Path | None, out: Path | None) -> None:
    """Prints what is promised and found for each run, and keeps it."""
    found = [good_scores(run, more) for run in runs]
    rows = {name: kept_promise(np.array(scores), images) for name, images, scores in found}
    places = {f"RUN{number}": run for number, run in enumerate(runs, start=1)}
    write_result(out, {"runs": rows}, MORE=more, **places)


def main() -> None:
    """Prints the figures of each run, and keeps them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--a-day", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--calibration", type=int, nargs="*", default=[], help="Fewer images.")
    parser.add_argument("--promise", action="store_true", help="False alarms, without drift.")
    parser.add_argument("--more", type=Path, metavar="ROOT", help="Of --promise: good images.")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.promise:
        promises(arguments.runs, arguments.more, arguments.out)
        return

    content: dict[str, Any] = {}
    for run in arguments.runs:
        detector = Detector.load(run)
        scores = {name: np.array(values) for name, values in measured(run).items()}
        counts = (len(detector.calibrated().scores), *arguments.calibration)
        content[detector.config.category] = [
            row
            for images in counts
            for row in simulated(scores, images, arguments.a_day, arguments.repeats)
        ]
    write_result(arguments.out, content)


if __name__ == "__main__":
    main()
