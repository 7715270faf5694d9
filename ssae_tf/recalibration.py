"""Which images a run is calibrated on anew: those that are no good ones stay left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ssae_tf.data.mvtec import Sample
from ssae_tf.data.split import name_in
from ssae_tf.errors import DataError
from ssae_tf.progress import Reporter
from ssae_tf.run_data import CalibrationImages


def chosen(
    images: CalibrationImages,
    left_out: Sequence[str],
    *,
    without: Sequence[str] = (),
    take_back: Sequence[str] = (),
) -> tuple[list[Sample], tuple[str, ...]]:
    """The images to calibrate on, and the names that a run is to leave out from now on.

    Args:
        left_out: names that the run leaves out so far, which need not be among these.
        without: file names of images to leave out as well, with as many of their folders as tell
            them apart.
        take_back: those of images to leave out no longer.

    Raises:
        DataError: a name is none of theirs or that of several, or no image is left.
    """
    samples = {name_in(sample.path, images.root): sample for sample in images.samples}
    out = list(left_out)
    for name in take_back:
        out.remove(_the_one(name, out, images.root, "image that is left out"))
    out += [_the_one(name, samples, images.root, "calibration image") for name in without]
    kept = [sample for name, sample in samples.items() if name not in out]
    if not kept:
        raise DataError("All calibration images are left out: a threshold needs one at least.")
    return kept, tuple(dict.fromkeys(out))


def tell_left_out(images: CalibrationImages, left_out: Sequence[str], reporter: Reporter) -> None:
    """Says which of some images a threshold does without, and what that means for its promise."""
    known = {name_in(sample.path, images.root) for sample in images.samples}
    names = [name for name in left_out if name in known]
    if names:
        reporter.say(
            f"Left out: {', '.join(names)}; --with NAME takes one back. What is promised holds if "
            "these are no good ones, whatever their score."
        )


def _the_one(name: str, names: Collection[str], root: Path, what: str) -> str:
    parts = Path(name).parts
    matches = [one for one in names if (root / one).parts[-len(parts) :] == parts]
    if not matches:
        raise DataError(f"{name}: no {what} has this file name.")
    if len(matches) > 1:
        raise DataError(f"{name}: expected the name of one {what}, found {', '.join(matches[:2])}.")
    return matches[0]
