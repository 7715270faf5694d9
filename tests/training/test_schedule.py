"""What happens at which step, computed by hand."""

from __future__ import annotations

import math

import pytest

from ssae_tf.config import Stage, TrainingConfig
from ssae_tf.errors import InputError
from ssae_tf.training.schedule import (
    estimated_seconds,
    evaluation_steps,
    learning_rate,
    scaled_to,
    stage_of,
    with_steps,
)

STAGES = (Stage(128, 32, 4), Stage(256, 16, 1), Stage(512, 8, 3))


def settings(steps=10, **changes):
    return TrainingConfig(stages=(Stage(64, 8, steps),), **changes)


class TestLearningRate:
    def test_a_linear_rise_in_the_first_twentieth(self):
        config = settings(100, learning_rate=0.4)
        cosines = [0.5 * (1 + math.cos(math.pi * step / 100)) for step in range(6)]
        rise = [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
        expected = [0.4 * r * (0.01 + 0.99 * c) for r, c in zip(rise, cosines, strict=True)]
        assert [learning_rate(step, config) for step in range(6)] == pytest.approx(expected)

    def test_a_cosine_without_a_rise_in_so_few_steps(self):
        config = settings(4, learning_rate=1.0)
        half = math.sqrt(0.5)
        cosines = [1.0, 0.5 * (1 + half), 0.5, 0.5 * (1 - half)]
        expected = [0.01 + 0.99 * cosine for cosine in cosines]
        assert [learning_rate(step, config) for step in range(4)] == pytest.approx(expected)

    def test_the_cosine_ends_at_one_per_cent(self):
        config = settings(10000, learning_rate=2.0)
        assert learning_rate(9999, config) == pytest.approx(0.02, rel=1e-3)

    def test_it_runs_over_all_stages(self):
        several = TrainingConfig(stages=STAGES)
        assert several.steps == 8
        one = settings(8)
        for step in range(8):
            assert learning_rate(step, several) == learning_rate(step, one)


class TestStages:
    def test_each_step(self):
        found = [stage_of(step, STAGES) for step in range(8)]
        assert found == [*4 * [(0, 0)], (1, 4), *3 * [(2, 5)]]

    def test_behind_the_last(self):
        with pytest.raises(InputError, match=r"Expected a step below 8\. Received: 8\."):
            stage_of(8, STAGES)


@pytest.mark.parametrize(
    ("steps", "evaluations", "expected"),
    [
        (10, 1, [10]),
        (10, 2, [5, 10]),
        (10, 4, [2, 5, 8, 10]),
        (7, 3, [2, 5, 7]),
        (3, 3, [1, 2, 3]),
        (3, 10, [1, 2, 3]),
        (1, 10, [1]),
    ],
)
def test_evaluations_are_spread_and_the_last_step_is_one(steps, evaluations, expected):
    assert evaluation_steps(settings(steps, evaluations=evaluations)) == expected


class TestTime:
    def test_estimate(self):
        config = TrainingConfig(stages=STAGES)
        assert estimated_seconds(config, [1.0, 2.0, 4.0], 10.0) == 10 + 4 * 1 + 1 * 2 + 3 * 4

    def test_with_steps(self):
        config = TrainingConfig(stages=STAGES, seed=3)
        found = with_steps(config, 2.5)
        assert [stage.steps for stage in found.stages] == [10, 2, 8]
        assert [(s.size, s.batch_size) for s in found.stages] == [(128, 32), (256, 16), (512, 8)]
        assert found.seed == 3

    def test_with_steps_keeps_one_a_stage(self):
        found = with_steps(TrainingConfig(stages=STAGES), 0.001)
        assert [stage.steps for stage in found.stages] == [1, 1, 1]

    def test_scaled_to_a_time(self):
        config = TrainingConfig(stages=(Stage(128, 8, 100), Stage(256, 8, 200)))
        # A round takes 100 · 0.5 + 200 · 1.0 = 250 s; 510 s less 10 s are two.
        found = scaled_to(config, 510.0, [0.5, 1.0], 10.0)
        assert [stage.steps for stage in found.stages] == [200, 400]
        assert estimated_seconds(found, [0.5, 1.0], 10.0) == 510.0

    def test_scaled_to_less_than_the_fixed_part(self):
        found = scaled_to(TrainingConfig(stages=STAGES), 5.0, [1.0, 1.0, 1.0], 10.0)
        assert [stage.steps for stage in found.stages] == [1, 1, 1]
