"""What happens at which step: stages, learning rate, evaluations, and minutes turned into steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from ssae_tf.config import Stage, TrainingConfig
from ssae_tf.errors import InputError

# Of all steps, those in which the rate rises from 0; and the share of it that the cosine ends at.
_WARMUP, _FINAL_SHARE = 0.05, 0.01


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate of one step: a linear rise over the warm-up, times a falling cosine."""
    total = config.steps
    rise = min(1.0, (step + 1) / (_WARMUP * total))
    cosine = 0.5 * (1.0 + math.cos(math.pi * step / total))
    return config.learning_rate * rise * (_FINAL_SHARE + (1.0 - _FINAL_SHARE) * cosine)


def stage_of(step: int, stages: Sequence[Stage]) -> tuple[int, int]:
    """The stage that a step falls in.

    Returns:
        Index of the stage, and its first step.

    Raises:
        InputError: `step` lies behind the last stage.
    """
    first = 0
    for index, stage in enumerate(stages):
        if step < first + stage.steps:
            return index, first
        first += stage.steps
    raise InputError(f"Expected a step below {first}. Received: {step}.")


def evaluation_steps(config: TrainingConfig) -> list[int]:
    """Finished steps after which the model is validated: evenly spaced, the last included."""
    count = min(config.evaluations, config.steps)
    return sorted({round(config.steps * (k + 1) / count) for k in range(count)})


def scaled_to(
    config: TrainingConfig, seconds: float, seconds_a_step: Sequence[float], fixed: float
) -> TrainingConfig:
    """Settings whose training takes a given time; the stages keep their shares of the steps.

    Args:
        config: the settings to start from.
        seconds: the time that training should take.
        seconds_a_step: measured, of each stage.
        fixed: seconds that do not depend on the number of steps.

    Returns:
        The same settings with other numbers of steps, at least one a stage.
    """
    expected = estimated_seconds(config, seconds_a_step, 0.0)
    return with_steps(config, max(0.0, seconds - fixed) / expected)


def with_steps(config: TrainingConfig, factor: float) -> TrainingConfig:
    """Settings with every stage's steps multiplied by a factor, at least one."""
    stages = tuple(
        dataclasses.replace(stage, steps=max(1, round(stage.steps * factor)))
        for stage in config.stages
    )
    return dataclasses.replace(config, stages=stages)


def estimated_seconds(
    config: TrainingConfig, seconds_a_step: Sequence[float], fixed: float
) -> float:
    """The time that training takes at the measured pace."""
    pairs = zip(config.stages, seconds_a_step, strict=True)
    return fixed + sum(stage.steps * pace for stage, pace in pairs)
