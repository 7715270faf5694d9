"""What is wrong with a folder of images, told before hours of training, and what to do about it.

Every image is read once (`ssae_tf.data.survey`); the findings are simple statistics of what was
read. Faults of single images and masks are in `ssae_tf.data.faults`, those of the whole are here;
twins are found as `ssae_tf.data.twins` says, unusual images as `ssae_tf.data.unusual` does.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ssae_tf.config import RunConfig
from ssae_tf.data import faults
from ssae_tf.data.faults import Finding, count_are, images_are, names_of
from ssae_tf.data.kinds import GOOD
from ssae_tf.data.mvtec import Category, Sample
from ssae_tf.data.split import Split, split_normal
from ssae_tf.data.survey import Facts, survey
from ssae_tf.data.twins import twin_groups
from ssae_tf.data.unusual import SHOWN, outliers, unusualness
from ssae_tf.errors import DataError
from ssae_tf.scoring.conformal import FalseAlarmRate, images_needed

_LEVELS = ("error", "warning", "note")
# A rate of false alarms that most lines could bear.
_RATE = 0.05


@dataclass(frozen=True, eq=False)
class Check:
    """What a look at a folder gave.

    Attributes:
        category: the folder.
        split: its good images as `fit` would split them.
        facts: of all images that can be read.
        findings: errors first, then warnings, then notes.
        promise: what a threshold from the calibration images promises; None where training sees
            some of them.
        good: facts of the good images to train and calibrate on.
        scores: how unusual each of `good` is.
        twins: names of the images of each group that shows one part.
    """

    category: Category
    split: Split
    facts: list[Facts]
    findings: list[Finding]
    promise: FalseAlarmRate | None
    good: list[Facts]
    scores: np.ndarray
    twins: list[list[str]]

    @property
    def is_clean(self) -> bool:
        """Whether nothing needs to be mended."""
        return all(finding.level == "note" for finding in self.findings)

    def unusual(self) -> dict[str, float]:
        """The names of the most unusual good images, the first of all first, with their scores."""
        order = np.argsort(-self.scores, kind="stable")[:SHOWN]
        names = names_of(self.category, [self.good[i] for i in order])
        return dict(zip(names, self.scores[order].tolist(), strict=True))


def check(
    category: Category, config: RunConfig, on_image: Callable[[], None] = lambda: None
) -> Check:
    """Looks at all images and masks of a category.

    Raises:
        DataError: no good image can be read.
    """
    samples = (*category.train, *category.validation, *category.test)
    facts, unreadable = survey(samples, config.data.white_level, on_image)
    learnt = {*category.train, *category.validation}
    good = [fact for fact in facts if fact.sample in learnt]
    readable = _without(category, unreadable)
    if not readable.train:
        raise DataError(
            f"{category.root}: none of the {len(category.train)} good images can be read; the "
            f"first: {unreadable[category.train[0]]}"
        )
    split = _split(readable, config)
    groups = twin_groups(np.stack([fact.thumbnail for fact in facts]))
    scores = unusualness(good)
    findings = [
        *faults.of_files(category, unreadable),
        *faults.of_masks(category, facts),
        *faults.of_depth(category, facts, config.data.white_level),
        *faults.of_pixels(category, facts),
        *faults.of_exposure(category, good),
        *faults.of_sizes(category, good, config.inspection_size),
        *_of_copies(category, split, facts, groups),
        *_of_outliers(category, good, scores),
        *_of_numbers(category, split),
    ]
    return Check(
        category,
        split,
        facts,
        sorted(findings, key=lambda finding: _LEVELS.index(finding.level)),
        _promise(split),
        good,
        scores,
        [list(names_of(category, [facts[i] for i in group])) for group in groups],
    )


def _split(category: Category, config: RunConfig) -> Split:
    data = config.data
    return split_normal(
        category, config.training.seed, data.select_fraction, data.calibrate_fraction, data.group
    )


def _promise(split: Split) -> FalseAlarmRate | None:
    seen = set(split.train) & set(split.calibrate)
    return None if seen else FalseAlarmRate(len(split.calibrate))


def _without(category: Category, unreadable: dict[Sample, str]) -> Category:
    train, validation, test = (
        tuple(sample for sample in part if sample not in unreadable)
        for part in (category.train, category.validation, category.test)
    )
    return dataclasses.replace(category, train=train, validation=validation, test=test)


def _of_copies(
    category: Category, split: Split, facts: Sequence[Facts], twins: Sequence[Sequence[int]]
) -> Iterator[Finding]:
    """Images that are there twice, and parts that are."""
    by_digest = defaultdict(list)
    for index, fact in enumerate(facts):
        by_digest[fact.digest].append(index)
    equal = [group for group in by_digest.values() if len(group) > 1]
    sides = _sides(split)
    across, within = _apart(equal, facts, sides)
    if across:
        yield Finding(
            "warning",
            "The same image for training and for testing",
            f"{count_are(len(across), 'image')} both among the good ones to learn from and the "
            "test images: the figures will be better than the truth.",
            "Remove one of each.",
            _groups(category, across, facts),
        )
    if within:
        yield Finding(
            "warning",
            "The same image more than once",
            f"{count_are(len(within), 'image')} there under several names: a copy tells nothing "
            "new, and in another part of the split it makes the threshold too low.",
            "Remove all but one of each.",
            _groups(category, within, facts),
        )
    near = [group for group in twins if len({facts[i].digest for i in group}) > 1]
    across, _ = _apart(near, facts, sides)
    if across:
        yield Finding(
            "warning",
            "One part in training and test",
            f"{count_are(len(across), 'part')} photographed more than once, at other exposures or "
            "moved a little, with images on both sides: the figures measure in part whether a part "
            "has been seen before.",
            "Move all images of such a part to one side.",
            _groups(category, across, facts),
        )
    apart = [
        group
        for group in near
        if len({sides[facts[i].sample] for i in group if facts[i].sample in sides}) > 1
    ]
    if apart:
        yield Finding(
            "warning",
            "One part on both sides of the split",
            f"{count_are(len(apart), 'part')} photographed more than once, and `fit` would train "
            "on some of these images and set the threshold on others: new parts will be rejected "
            "more often than promised.",
            "Give --group REGEX, whose capture group names the part in a file name; or put all "
            "images of some parts into validation/good.",
            _groups(category, apart, facts),
        )


def _sides(split: Split) -> dict[Sample, tuple[str, ...]]:
    sides: dict[Sample, tuple[str, ...]] = {}
    for name in ("train", "select", "calibrate"):
        for sample in getattr(split, name):
            sides[sample] = (*sides.get(sample, ()), name)
    return sides


def _apart(
    groups: Iterable[Sequence[int]], facts: Sequence[Facts], sides: dict[Sample, tuple[str, ...]]
) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Groups with images to learn from and test images, and the other ones."""
    across: list[Sequence[int]] = []
    within: list[Sequence[int]] = []
    for group in groups:
        mixed = len({facts[i].sample in sides for i in group}) > 1
        (across if mixed else within).append(group)
    return across, within


def _of_outliers(
    category: Category, good: Sequence[Facts], scores: np.ndarray
) -> Iterator[Finding]:
    odd = outliers(scores)
    if len(odd):
        yield Finding(
            "warning",
            "Unusual good images",
            f"{images_are(len(odd))} far from the median image and from the nearest neighbours, "
            "by small thumbnails; the most unusual first.",
            "Look at them (--out DIR draws a sheet): remove what is not good; one such image among "
            "those for the threshold hides defects.",
            names_of(category, [good[i] for i in odd]),
        )


def _of_numbers(category: Category, split: Split) -> Iterator[Finding]:
    """Few good images, and what a test set can't tell."""
    calibrate, needed = len(split.calibrate), images_needed(_RATE)
    good = len(category.train) + len(category.validation)
    if split.notes:
        yield Finding(
            "warning",
            "Few good images",
            " ".join(split.notes),
            "Collect more good images, of more parts: 50 to 200 do well.",
        )
    elif calibrate < needed:
        yield Finding(
            "note",
            "Few images for the threshold",
            f"The threshold is set on {calibrate} of {good} good images, so that about 1 in "
            f"{calibrate + 1} good parts will be rejected.",
            f"{needed} calibration images bring it to 1 in {needed + 1}: put more good images into "
            "validation/good, or give a larger --set data.calibrate_fraction.",
        )
    if not category.test:
        yield Finding(
            "note",
            "No test set",
            "Nothing measures the detector: `fit` trains and sets the threshold, no more.",
            "Put some images with known defects into test/KIND, and good ones into test/good.",
        )
        return
    kinds = Counter(sample.kind for sample in category.test)
    single = [kind for kind, count in kinds.items() if count == 1]
    if single:
        yield Finding(
            "note",
            "Kinds with one image",
            "Figures of such a kind are those of a single image.",
            "Collect more of them, or put them together in one kind.",
            tuple(single),
        )
    if GOOD not in kinds or len(kinds) == 1:
        missing = "good" if GOOD not in kinds else "defective"
        yield Finding(
            "note",
            f"No {missing} test images",
            "AUROC and balanced accuracy need good and defective test images.",
            f"Put some into test/{GOOD if missing == 'good' else 'KIND'}.",
        )


def _groups(
    category: Category, groups: Iterable[Sequence[int]], facts: Sequence[Facts]
) -> tuple[str, ...]:
    return tuple(" = ".join(names_of(category, [facts[i] for i in group])) for group in groups)
