"""What is estimated from normal images: the threshold.

The images of calibration take part in nothing else. There is thus nothing to cross-fit: their
scores are exchangeable with those of new good images, exactly, unless training has seen some of
them, and then nothing is promised.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssae_tf.batching import batch_size
from ssae_tf.calibration_file import Calibration
from ssae_tf.config import RunConfig
from ssae_tf.corruption.held_out import corrupted_copies
from ssae_tf.data.images import read_image
from ssae_tf.data.mvtec import Sample
from ssae_tf.data.per_image import of_images, warn_of_skipped
from ssae_tf.data.split import Split, name_in
from ssae_tf.detector import Detector
from ssae_tf.errors import ConfigError, DataError, count_of
from ssae_tf.progress import Reporter
from ssae_tf.scoring.conformal import FalseAlarmRate, no_promise, ranks_for
from ssae_tf.scoring.threshold import calibrate as threshold_of
from ssae_tf.scoring.threshold import default_min_area, image_score

# Of calibration: how many are named, and from how many on a tenth of them says something.
_HIGHEST_NAMED, _FEWEST_FOR_SHARES = 3, 10
# Fewer good images promise less than 1 in 20 false alarms: a gate's own ½ is the better bound.
_FEWEST_TO_TRUST = 20
# Of calibration images, to see how far a gate opens.
_COPIES = 8


def build_detector(
    model: tf.keras.Model,
    config: RunConfig,
    split: Split,
    reporter: Reporter,
    ignore_mask: np.ndarray | None = None,
) -> Detector:
    """A detector around a network, with the threshold of some normal images.

    Returns:
        The detector with its threshold.
    """
    detector = Detector(model, config, ignore_mask=ignore_mask)
    return calibrated(detector, split.calibrate, reporter, seen=split.train, root=split.root)


def calibrated(
    detector: Detector,
    samples: Sequence[Sample],
    reporter: Reporter,
    *,
    seen: Sequence[Sample] = (),
    root: Path = Path(),
    max_false_alarms: float | None = None,
    review: float | None = None,
) -> Detector:
    """The same detector with the threshold of some normal images.

    Args:
        detector: any; its calibration is not looked at.
        samples: the images.
        reporter: where progress goes, and what the threshold promises.
        seen: images of training. If some of these are among the others, which score lower for it,
            nothing is promised. Then, and from fewer than 20 images, the threshold is no lower than
            `ScoringConfig.outline`, unless corrupted copies of the images do not reach that either.
        root: the folder that names of the images are recorded relative to.
        max_false_alarms: accepted share of good images rejected, on average; None for the least
            that so many images allow: the threshold is their maximum.
        review: the same of good images that are reviewed or rejected, no less; None for no level
            of review.

    Raises:
        DataError: none of the images can be read.
        ConfigError: so few images, or images of training, can't promise such a rate; or one of
            review is less than that of rejection.
    """
    # Of an image of 12 megapixels the map would be 48 MB, at the inspection size it is 0.3.
    usable, answers, skipped = of_images(
        lambda images: [
            (map_, image.shape[:2])
            for image, (_, map_) in zip(images, detector.answers(images), strict=True)
        ],
        samples,
        detector.config.data,
        "Calibrating",
        reporter,
        batch_size(),
    )
    if not answers:
        raise DataError(f"None of the {len(samples)} calibration images can be read.")
    warn_of_skipped(skipped, reporter)
    height, width = (round(side) for side in np.median([size for _, size in answers], axis=0))
    # The map is smoothed at the inspection size, and min_area counts pixels of the image.
    inspected = detector.inspection_size or (height, width)
    sigma = detector.config.scoring.sigma
    sigma *= max(height / inspected[0], width / inspected[1])
    min_area = detector.config.min_area or default_min_area(height, width, sigma)
    scores = tuple(
        image_score(detector.full_size(map_, *size), min(min_area, size[0] * size[1]))
        for map_, size in answers
    )
    places = {sample.path.resolve() for sample in seen}
    known = [sample for sample in usable if sample.path.resolve() in places]
    if known and (max_false_alarms is not None or review is not None):
        raise ConfigError(
            f"Training has seen {len(known)} of the {len(usable)} calibration images, so that they "
            "can promise no rate of false alarms: calibrate with --data on good images it has not."
        )
    count = len(scores)
    rank, review_rank = ranks_for(count, max_false_alarms, review)
    is_weak = known or count < _FEWEST_TO_TRUST
    outline = detector.config.scoring.outline
    lowest = outline if is_weak and outline and _opens(detector, usable, outline, reporter) else 0.0
    calibration = Calibration(
        threshold_of(scores, lowest, rank),
        min_area,
        scores,
        None if known else FalseAlarmRate(count, rank),
        None if review_rank is None else threshold_of(scores, lowest, review_rank),
        None if review_rank is None else FalseAlarmRate(count, review_rank),
        names=tuple(name_in(sample.path, root) for sample in usable),
        seen=tuple(name_in(sample.path, root) for sample in known),
    )
    source = f"from {count_of(count, 'normal image')}"
    if calibration.threshold > max(scores):
        source = f"the lowest from so few normal images or from seen ones, {count} here"
    reporter.say(f"Threshold {calibration.threshold:.4g}, {source}; min_area {min_area} pixels.")
    reporter.say(_highest(scores, _names(usable)))
    for sentence in calibration.promises() or [no_promise(count, len(known))]:
        reporter.say(sentence)
    return detector.replace(calibration=calibration)


def _opens(detector: Detector, samples: Sequence[Sample], level: float, reporter: Reporter) -> bool:
    """Whether corrupted copies of some images reach a level, which would else hide every defect."""
    white = detector.config.data.white_level
    copies = [
        corrupted_copies(
            detector.as_inspected(read_image(sample.path, white_level=white))[None], (0, index)
        )[0]
        for index, sample in enumerate(samples[:_COPIES])
    ]
    highest = max(float(map_.max()) for _, map_ in detector.answers(copies))
    if highest > level:
        return True
    reporter.warn(
        f"Corrupted copies of {len(copies)} of these images raise the map to {highest:.3g} at "
        f"most: a threshold of {level:g} would find nothing, and is left out. The network has "
        "learnt too little from so few images: train longer (--preset best), or on more."
    )
    return False


def _names(samples: Sequence[Sample]) -> list[str]:
    """Names that tell images apart: of their files, or with the folders in which they differ."""
    names = [sample.path.name for sample in samples]
    if len(set(names)) == len(names):
        return names
    root = os.path.commonpath([sample.path.parent for sample in samples])
    return [sample.path.relative_to(root).as_posix() for sample in samples]


def _highest(scores: Sequence[float], names: Sequence[str]) -> str:
    """Which images a threshold comes from, and how far they are above the others."""
    ranked = sorted(zip(scores, names, strict=True), reverse=True)
    shown = ", ".join(f"{name} {score:.4g}" for score, name in ranked[:_HIGHEST_NAMED])
    line = f"Highest: {shown}"
    if len(scores) >= _FEWEST_FOR_SHARES:
        line += f"; nine in ten have at most {np.quantile(scores, 0.9, method='higher'):.4g}"
    return f"{line}."
