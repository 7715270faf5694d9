"""Figures of steps: the same numbers as those fetched one by one, and checked before they count."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.progress import Reporter
from ssae_tf.training import figures as module
from ssae_tf.training.figures import RecentFigures
from ssae_tf.training.logs import read_history
from ssae_tf.training.loop import Trainer


class Refused(Exception):
    pass


@pytest.fixture
def checked():
    """The steps that were checked, and a check that refuses figures that are not finite."""
    steps = []

    def check(numbers, step):
        steps.append(step)
        if not np.isfinite(numbers).all():
            raise Refused(step)

    return steps, check


@pytest.fixture
def patient(monkeypatch):
    """However slow the machine is, only the number of steps decides."""
    monkeypatch.setattr(module, "_SECONDS", 1e9)


def drawn(count, rng):
    return [tuple(map(tf.constant, row)) for row in rng.random((count, 3), dtype=np.float32)]


def test_fetched_after_twenty_steps_they_are_those_fetched_one_by_one(checked, patient, rng):
    steps, check = checked
    recent, figures = RecentFigures(check), drawn(45, rng)
    for number, one in enumerate(figures, 1):
        recent.add(number, one)
        assert len(recent.known) == number // 20 * 20
    recent.fetch()
    assert recent.known == [[float(figure) for figure in one] for one in figures]
    assert steps == list(range(1, 46))


def test_slow_steps_are_fetched_as_they_come(checked, monkeypatch, rng):
    monkeypatch.setattr(module, "_SECONDS", 0.0)
    recent = RecentFigures(checked[1])
    for number, one in enumerate(drawn(3, rng), 1):
        recent.add(number, one)
        assert len(recent.known) == number


def test_the_first_step_that_went_wrong_is_named(checked, patient, rng):
    steps, check = checked
    recent, figures = RecentFigures(check), drawn(20, rng)
    figures[13] = figures[16] = (tf.constant(np.nan),) * 3
    for number, one in enumerate(figures[:-1], 101):
        recent.add(number, one)
    assert steps == []
    with pytest.raises(Refused, match="114"):
        recent.add(120, figures[-1])


def test_an_evaluation_starts_anew(checked, patient, rng):
    recent, figures = RecentFigures(checked[1]), drawn(3, rng)
    for number, one in enumerate(figures, 1):
        recent.add(number, one)
    recent.fetch()
    recent.clear()
    recent.add(4, figures[0])
    recent.fetch()
    assert recent.known == [[float(figure) for figure in figures[0]]]


def test_a_training_keeps_the_same_history_however_often_it_fetches(
    caches, configure, small, monkeypatch, tmp_path
):
    changes = {
        "training.stages": [{"size": 16, "batch_size": 2, "steps": 5}],
        "training.evaluations": 2,
    }
    rows = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(module, "_SECONDS", seconds)
        folder = tmp_path / str(seconds)
        Trainer(*caches, configure(changes), Reporter(quiet=True)).train(folder)
        found = read_history(folder / "history.csv", 5)
        rows.append([dataclasses.replace(row, seconds=0.0) for row in found])
    assert [row.step for row in rows[0]] == [2, 5]
    assert rows[0] == rows[1]
