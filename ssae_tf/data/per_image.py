"""One function over many images, on as many cores as suits TensorFlow, results in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from ssae_tf.config import DataConfig
from ssae_tf.data.images import read_image
from ssae_tf.data.mvtec import Sample
from ssae_tf.errors import DataError, count_of
from ssae_tf.progress import Reporter, Task
from ssae_tf.runtime.parallel import ahead
from ssae_tf.runtime.threads import batches_at_once

_T = TypeVar("_T")
_L = TypeVar("_L")


def of_images(
    function: Callable[[list[np.ndarray]], list[_T]],
    samples: Sequence[Sample],
    settings: DataConfig,
    name: str,
    reporter: Reporter,
    size: int = 1,
) -> tuple[list[Sample], list[_T], list[str]]:
    """Applies a function to images, (H, W, 3) float32, `size` at a time; otherwise as `each`.

    Returns:
        The samples that could be used, the result of each, and sentences about the others.
    """

    def load(sample: Sample) -> tuple[Sample, np.ndarray]:
        return sample, read_image(sample.path, settings.white_level)

    def work(loaded: list[tuple[Sample, np.ndarray]]) -> list[tuple[Sample, _T]]:
        usable, images = zip(*loaded, strict=True)
        return list(zip(usable, function(list(images)), strict=True))

    results: list[tuple[Sample, _T]] = []
    with reporter.task(name, len(samples)) as task:
        skipped = apply_in_batches(
            load, work, samples, size, task, settings.skip_unreadable, results.append
        )
    return [sample for sample, _ in results], [result for _, result in results], skipped


def each(
    function: Callable[[Sample], _T], samples: Sequence[Sample], task: Task, skip_unreadable: bool
) -> tuple[list[_T], list[str]]:
    """`apply_in_batches` of one sample each: what a function makes of it, and the sentences."""
    results: list[_T] = []
    return results, apply_in_batches(
        function, lambda ready: ready, samples, 1, task, skip_unreadable, results.append
    )


def apply_in_batches(
    load: Callable[[Sample], _L],
    work: Callable[[list[_L]], list[_T]],
    samples: Sequence[Sample],
    size: int,
    task: Task,
    skip_unreadable: bool,
    keep: Callable[[_T], None],
) -> list[str]:
    """Loads samples and works on several together, on as many threads as suit TensorFlow's.

    Args:
        load: makes of a sample what is worked on.
        work: gives a result for each of what was loaded, at least one.
        keep: gets the results, in this thread, as they come.

    Returns:
        Sentences about the samples that were left out.

    Raises:
        DataError: a sample can't be used, and is not to be left out.
    """

    def loaded(sample: Sample) -> tuple[list[_L], list[str]]:
        try:
            return [load(sample)], []
        except DataError as error:
            if not skip_unreadable:
                raise
            return [], [str(error)]

    def attempt(batch: Sequence[Sample]) -> tuple[list[_T], list[str]]:
        parts = [loaded(sample) for sample in batch]
        usable = [one for ready, _ in parts for one in ready]
        return work(usable) if usable else [], [text for _, wrong in parts for text in wrong]

    messages: list[str] = []
    batches = [samples[first : first + size] for first in range(0, len(samples), size)]
    # While the network sees a batch, the next ones are loaded.
    answers = ahead(attempt, batches, batches_at_once(size))
    for batch, (results, wrong) in zip(batches, answers, strict=True):
        for result in results:
            keep(result)
        messages += wrong
        for _ in batch:
            task.advance()
    return messages


def warn_of_skipped(messages: Sequence[str], reporter: Reporter) -> None:
    """One warning about images that were left out, with the first of the reasons."""
    # With few images the parts share them, and a file would count more than once.
    different = list(dict.fromkeys(messages))
    if different:
        reporter.warn(f"{count_of(len(different), 'image')} left out, the first: {different[0]}")
