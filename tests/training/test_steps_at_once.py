"""Random numbers of a training are drawn for some steps at a time: how many changes nothing."""

from __future__ import annotations

from ssae_tf.training import loop
from ssae_tf.training.batches import Batches
from staged import STAGED, assert_same, best


def test_training_goes_the_same_way_whatever_is_drawn_at_once(trainer, tmp_path, monkeypatch):
    asked = []
    training = Batches.training

    def spy(self, index, stage, first, begin, end):
        asked.append((index, begin, end))
        return training(self, index, stage, first, begin, end)

    monkeypatch.setattr(Batches, "training", spy)
    for count in (10_000, 2):
        monkeypatch.setattr(loop, "_STEPS_AT_ONCE", count)
        trainer(STAGED).train(tmp_path / str(count))
    assert asked == [(0, 0, 2), (1, 2, 5), (0, 0, 2), (1, 2, 4), (1, 4, 5)]
    assert_same(best(tmp_path / "2"), best(tmp_path / "10000"))
