"""The pace of a training: measured before it, without a trace in it."""

from __future__ import annotations

import numpy as np

from ssae_tf.training import loop
from ssae_tf.training.loop import Trainer
from staged import STAGED, assert_same, best


class TestTime:
    def test_steps_follow_from_the_time(self, trainer, monkeypatch):
        one = trainer(STAGED)
        monkeypatch.setattr(Trainer, "_measure_pace", lambda self: ([1.0, 2.0], 5.0))
        # 2 · 1 + 3 · 2 = 8 seconds and 5 that are fixed.
        config, seconds = one.fit_to_time(None)
        assert (config.training.steps, seconds) == (5, 13.0)
        config, seconds = one.fit_to_time(37.0)
        assert seconds == 37.0
        assert [stage.steps for stage in config.training.stages] == [8, 12]

    def test_measuring_leaves_no_trace(self, trainer, caches):
        measured, fresh = trainer(STAGED), trainer(STAGED)
        _, expected = measured.fit_to_time(None)
        assert 0 < expected < 600
        for ours, theirs in zip(measured.model.weights, fresh.model.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert all(not np.any(v) for v in measured._optimizer.variables[2:])

    def test_what_was_measured_is_not_compiled_again(self, trainer, tmp_path, monkeypatch):
        made, real = [], loop.make_step

        def make_step(*args):
            made.append(args)
            return real(*args)

        monkeypatch.setattr(loop, "make_step", make_step)
        measured, fresh = trainer(STAGED), trainer(STAGED)
        measured.fit_to_time(None)
        assert len(made) == 2
        for one, name in ((measured, "measured"), (fresh, "fresh")):
            one.train(tmp_path / name)
        assert_same(best(tmp_path / "measured"), best(tmp_path / "fresh"))
        assert len(made) == 4
