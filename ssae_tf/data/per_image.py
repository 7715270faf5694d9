"""One function over many images, on as many cores as suits TensorFlow, results in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from ssae_tf.config import DataConfig
from ssae_tf.data.images import read_image
from ssae_tf.data.mvtec import Sample
from ssae_tf.errors import DataError
from ssae_tf.progress import Reporter, Task
from ssae_tf.runtime.parallel import ahead
from ssae_tf.runtime.threads import side_by_side

_T = TypeVar("_T")


def of_images(
    function: Callable[[np.ndarray], _T],
    samples: Sequence[Sample],
    settings: DataConfig,
    name: str,
    reporter: Reporter,
) -> tuple[list[Sample], list[_T], list[str]]:
    """Applies a function to images, (H, W, 3) float32; otherwise as `each`.

    Returns:
        The samples that could be used, the result of each, and sentences about the others.
    """
    with reporter.task(name, len(samples)) as task:
        found, skipped = each(
            lambda sample: (sample, function(read_image(sample.path, settings.white_level))),
            samples,
            task,
            settings.skip_unreadable,
        )
    return [sample for sample, _ in found], [result for _, result in found], skipped


def each(
    function: Callable[[Sample], _T], samples: Sequence[Sample], task: Task, skip_unreadable: bool
) -> tuple[list[_T], list[str]]:
    """`apply_to`, with the results in a list beside its sentences."""
    results: list[_T] = []
    return results, apply_to(function, samples, task, skip_unreadable, results.append)


def apply_to(
    function: Callable[[Sample], _T],
    samples: Sequence[Sample],
    task: Task,
    skip_unreadable: bool,
    keep: Callable[[_T], None],
) -> list[str]:
    """Applies a function to samples, to as many at a time as suits TensorFlow's threads.

    Args:
        function: of a sample.
        samples: in the order in which results are kept.
        task: advances with each.
        skip_unreadable: whether samples that can't be used are left out.
        keep: gets the results, in this thread, as they come.

    Returns:
        Sentences about the samples that were left out.

    Raises:
        DataError: a sample can't be used, and is not to be left out.
    """

    def attempt(sample: Sample) -> tuple[list[_T], list[str]]:
        try:
            return [function(sample)], []
        except DataError as error:
            if not skip_unreadable:
                raise
            return [], [str(error)]

    messages: list[str] = []
    for found, wrong in ahead(attempt, samples, side_by_side()):
        for result in found:
            keep(result)
        messages += wrong
        task.advance()
    return messages


def warn_of_skipped(messages: Sequence[str], reporter: Reporter) -> None:
    """One warning about images that were left out, with the first of the reasons."""
    # With few images the parts share them, and a file would count more than once.
    different = list(dict.fromkeys(messages))
    if different:
        count = "1 image" if len(different) == 1 else f"{len(different)} images"
        reporter.warn(f"{count} left out, the first: {different[0]}")
