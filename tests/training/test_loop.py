"""The loop: taken up anywhere, repeatable, keeping the best, leaving what it promises."""

from __future__ import annotations

import dataclasses
import io
import shutil
import signal
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from ssae_tf.errors import RunError
from ssae_tf.models.answer import answer
from ssae_tf.models.weights import load_arrays, named_variables
from ssae_tf.ops.gaussian import gaussian_filter
from ssae_tf.progress import Reporter, Task
from ssae_tf.training import loop
from ssae_tf.training.logs import read_history
from ssae_tf.training.loop import Trainer, TrainingDiverged, TrainingInterrupted
from ssae_tf.training.selection import Validator
from staged import STAGED, assert_same, best


def press_and_wait(number):
    """Presses Ctrl-C, and waits for the handler: two that come close together may count as one."""
    handler = signal.getsignal(number)
    signal.raise_signal(number)
    deadline = time.monotonic() + 5.0
    # The first press puts the handler of before back; the second one leaves by an exception.
    while signal.getsignal(number) is handler and time.monotonic() < deadline:
        time.sleep(0.001)


class Interrupting(Reporter):
    """Presses Ctrl-C after a number of steps of training."""

    def __init__(self, after, times=1, number=signal.SIGINT):
        super().__init__(quiet=True)
        self.after = after
        self.times = times
        self.number = number

    def task(self, description, total, done=0):
        outer = self

        class Pressed(Task):
            def advance(self, note=""):
                super().advance(note)
                outer.after -= 1
                if outer.after == 0:
                    for _ in range(outer.times):
                        press_and_wait(outer.number)

        return Pressed(self, description, total, done)


@pytest.fixture(scope="module")
def staged(caches, configure, put_stand_ins, tmp_path_factory):
    """The run folder of a training as STAGED says, and what it printed."""
    folder = tmp_path_factory.mktemp("staged")
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        put_stand_ins(monkeypatch)
        Trainer(*caches, configure(STAGED), Reporter(console=console)).train(folder)
    return folder, console.file.getvalue().splitlines()


def final(folder):
    """All of the state but the time."""
    arrays = load_arrays(folder / "checkpoints" / "state.npz")
    del arrays["seconds"]
    return arrays


def values(model):
    return {n: np.array(tf.convert_to_tensor(v)) for n, v in named_variables(model).items()}


class TestInterruption:
    def test_stopped_after_every_step_it_comes_to_the_same(self, trainer, staged, tmp_path):
        whole, _ = staged
        for step in range(1, 6):
            with pytest.raises(TrainingInterrupted, match=f"after step {step} of 5"):
                trainer(STAGED, Interrupting(1)).train(tmp_path, resume=step > 1)
            assert final(tmp_path)["step"] == step
        model = trainer(STAGED).train(tmp_path, resume=True)
        assert_same(final(tmp_path), final(whole))
        assert_same(best(tmp_path), best(whole))
        assert_same(values(model), best(tmp_path))

        rows, expected = (read_history(folder / "history.csv", 5) for folder in (tmp_path, whole))
        assert [row.step for row in rows] == [2, 3, 5]
        for ours, theirs in zip(rows, expected, strict=True):
            # Of training itself, a row knows the steps of its own session only.
            apart = ("seconds", "train_loss", "train_outside", "train_inside")
            pair = [[v for k, v in vars(row).items() if k not in apart] for row in (ours, theirs)]
            assert pair[0] == pytest.approx(pair[1], rel=1e-5)
        assert 0 < rows[0].seconds < rows[1].seconds < rows[2].seconds

    def test_ctrl_c_saves_and_says_how_to_go_on(self, trainer, tmp_path):
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(TrainingInterrupted) as caught:
            trainer(STAGED, Interrupting(2)).train(tmp_path / "run")
        assert str(caught.value) == (
            f"Interrupted after step 2 of 5; everything is saved in {tmp_path / 'run'}. "
            f"Go on with: ssae-tf fit --resume {tmp_path / 'run'}"
        )
        assert signal.getsignal(signal.SIGINT) is before
        assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {
            "state.npz",
            "best.npz",
        }

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_other_signals_save_as_well(self, number, trainer, tmp_path):
        before = signal.getsignal(number)
        with pytest.raises(TrainingInterrupted, match="after step 1 of 2; everything") as caught:
            trainer(reporter=Interrupting(1, number=number)).train(tmp_path)
        assert caught.value.number == number
        assert signal.getsignal(number) is before
        assert final(tmp_path)["step"] == 1

    def test_a_state_is_saved_in_time(self, trainer, tmp_path, monkeypatch):
        monkeypatch.setattr(loop, "_SAVED_EVERY", 0.0)
        seen = []

        class Looking(Reporter):
            def task(self, description, total, done=0):
                class Looked(Task):
                    def advance(self, note=""):
                        path = tmp_path / "checkpoints" / "state.npz"
                        seen.append(int(final(tmp_path)["step"]) if path.is_file() else 0)

                return Looked(self, description, total, done)

        stages = [{"size": 16, "batch_size": 2, "steps": 4}]
        trainer({"training.stages": stages}, Looking(quiet=True)).train(tmp_path)
        assert seen == [0, 1, 2, 3]

    def test_a_second_ctrl_c_stops_at_once(self, trainer, tmp_path):
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            trainer(reporter=Interrupting(1, times=2)).train(tmp_path / "run")
        assert signal.getsignal(signal.SIGINT) is before
        assert not (tmp_path / "run" / "checkpoints").exists()

    def test_other_threads_leave_signals_alone(self, trainer, tmp_path):
        before = signal.getsignal(signal.SIGINT)
        models = []
        one = trainer()
        thread = threading.Thread(target=lambda: models.append(one.train(tmp_path / "run")))
        thread.start()
        thread.join()
        assert models
        assert signal.getsignal(signal.SIGINT) is before

    def test_nothing_to_resume(self, trainer, tmp_path):
        with pytest.raises(RunError, match=r"state\.npz: can't be read"):
            trainer().train(tmp_path / "run", resume=True)

    def test_a_new_training_ignores_what_an_old_one_left(self, trainer, staged, tmp_path):
        shutil.copytree(staged[0], tmp_path, dirs_exist_ok=True)
        before = best(tmp_path)
        model = trainer().train(tmp_path)
        assert_same(values(model), best(tmp_path))
        assert any(not np.allclose(value, before[name]) for name, value in best(tmp_path).items())
        assert [row.step for row in read_history(tmp_path / "history.csv", 99)] == [2]


class TestSameTraining:
    def test_evaluations_do_not_change_training(self, trainer, staged, tmp_path):
        trainer({**STAGED, "training.evaluations": 1}).train(tmp_path)
        assert [row.step for row in read_history(tmp_path / "history.csv", 5)] == [5]
        states = [final(folder) for folder in (tmp_path, staged[0])]
        for state in states:
            del state["best_criterion"]
        assert_same(*states)

    def test_what_is_kept_has_estimated_statistics_and_what_goes_on_moving_ones(
        self, trainer, tmp_path
    ):
        trainer().train(tmp_path)
        state, kept = final(tmp_path), best(tmp_path)
        # After two steps of a slow average, still near 1.
        assert np.all(state["model/norm/moving_variance"] > 0.8)
        assert np.all(kept["norm/moving_variance"] < 0.7)
        np.testing.assert_array_equal(kept["norm/gamma"], state["model/norm/gamma"])

    def test_corruption_in_step_and_in_data_train_alike(self, trainer, staged, tmp_path):
        trainer({**STAGED, "corruption.where": "data"}).train(tmp_path)
        in_step, in_data = final(staged[0]), final(tmp_path)
        for name, value in in_step.items():
            np.testing.assert_allclose(in_data[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


class TestBestCheckpoint:
    CHANGES = {
        "training.stages": [{"size": 16, "batch_size": 2, "steps": 3}],
        "training.evaluations": 3,
    }

    @pytest.fixture
    def script(self, monkeypatch):
        """Lets the criteria be what is said, and keeps the weights that were validated."""

        def put(criteria):
            validated, remaining, validate = [], iter(criteria), Validator.validate

            def scripted(self):
                validated.append(values(self._model))
                return dataclasses.replace(validate(self), criterion=next(remaining))

            monkeypatch.setattr(Validator, "validate", scripted)
            return validated

        return put

    @pytest.mark.parametrize(("criteria", "kept"), [([3.0, 1.0, 2.0], 1), ([1.0, 1.0, 2.0], 0)])
    def test_the_lowest_criterion_is_kept(self, trainer, tmp_path, script, criteria, kept):
        validated = script(criteria)
        model = trainer(self.CHANGES).train(tmp_path)
        assert_same(best(tmp_path), validated[kept])
        assert_same(values(model), validated[kept])
        rows = read_history(tmp_path / "history.csv", 3)
        assert [row.criterion for row in rows] == criteria
        lowest = [min(criteria[:k], default=np.inf) for k in range(3)]
        assert [row.best for row in rows] == [c < b for c, b in zip(criteria, lowest, strict=True)]

    @pytest.mark.parametrize(("equation", "steps"), [(1, 6), (2, 5), (3, 5)])
    def test_objectives_that_learn_the_corruption_end_when_they_get_worse(
        self, trainer, tmp_path, script, equation, steps
    ):
        validated = script([2.0, 1.0, 1.5, 1.0, 3.0, 0.5])
        changes = {
            "objective.equation": equation,
            "training.stages": [{"size": 16, "batch_size": 2, "steps": 6}],
            "training.evaluations": 6,
        }
        console = Console(file=io.StringIO(), soft_wrap=True)
        trainer(changes, Reporter(console=console)).train(tmp_path)
        assert len(validated) == steps
        assert_same(best(tmp_path), validated[5 if equation == 1 else 1])
        told = "Ended after step 5 of 6: unseen corruption was found best after step 2"
        assert (told in console.file.getvalue()) == (equation != 1)
        # Taken up again, it has nothing left to do.
        trainer(changes).train(tmp_path, resume=True)
        assert len(validated) == steps
        assert len(read_history(tmp_path / "history.csv", 6)) == steps

    def test_ctrl_c_is_heeded_where_training_ends_early(self, trainer, tmp_path, script):
        script([1.0, 2.0, 3.0, 4.0])
        changes = {
            "objective.equation": 3,
            "training.stages": [{"size": 16, "batch_size": 2, "steps": 6}],
            "training.evaluations": 6,
        }
        with pytest.raises(TrainingInterrupted, match="after step 4 of 6"):
            trainer(changes, Interrupting(4)).train(tmp_path)

    def test_a_lost_one_is_written_anew(self, trainer, tmp_path, script):
        validated = script([1.0, 2.0, 3.0])
        with pytest.raises(TrainingInterrupted):
            trainer(self.CHANGES, Interrupting(1)).train(tmp_path)
        (tmp_path / "checkpoints" / "best.npz").unlink()
        trainer(self.CHANGES).train(tmp_path, resume=True)
        assert_same(best(tmp_path), validated[1])


class TestDivergence:
    def test_a_loss_that_is_no_number_stops_training(self, trainer, tmp_path, monkeypatch):
        def make_step(*args):
            figures = iter([(0.5, 0.1, 0.2), (0.5, float("nan"), 0.2)])
            return lambda step, x: next(figures)

        monkeypatch.setattr(loop, "make_step", make_step)
        one = trainer({"training.learning_rate": 0.25})
        with pytest.raises(TrainingDiverged) as caught:
            one.train(tmp_path)
        assert str(caught.value) == (
            "Training diverged at step 2 of 2: loss 0.5, error outside M nan, inside 0.2. "
            "Start anew with --set training.learning_rate below 0.25."
        )
        assert not (tmp_path / "checkpoints").exists()

    @pytest.mark.parametrize("steps", [1, 4])
    def test_real_divergence(self, trainer, tmp_path, steps):
        stages = [{"size": 16, "batch_size": 1, "steps": steps}]
        one = trainer({"training.stages": stages, "training.learning_rate": 1e38})
        with pytest.raises(TrainingDiverged, match=f"of {steps}: loss"):
            one.train(tmp_path)
        assert not (tmp_path / "checkpoints").exists()


class TestWhatItLeaves:
    def test_history_and_lines(self, staged):
        folder, printed = staged
        # A slow machine tells how far it is in between.
        printed = [line for line in printed if line.startswith("step ")]
        rows = read_history(folder / "history.csv", 5)
        assert [(row.step, row.size) for row in rows] == [(2, 16), (3, 24), (5, 24)]
        assert len(printed) == 3
        for row, line in zip(rows, printed, strict=True):
            assert line.startswith(
                f"step {row.step}/5: select loss {row.loss:.3g}, error outside M "
            )
            assert f"{row.outside:.4f} (training mode {row.outside_training:.4f})" in line
            assert line.endswith(", kept") == row.best

    def test_logs_that_can_not_be_written_are_a_warning(self, trainer, tmp_path):
        (tmp_path / "logs").write_text("in the way")
        console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
        trainer({"training.evaluations": 2}, Reporter(console=console)).train(tmp_path)
        assert final(tmp_path)["step"] == 2
        lines = console.file.getvalue().splitlines()
        (warning,) = [line for line in lines if line.startswith("Warning: ")]
        assert warning.startswith(f"Warning: {tmp_path / 'logs'}: no more logs for TensorBoard")
        assert warning.endswith("training goes on.")

    def test_tensorboard(self, staged):
        found = {}
        for path in (staged[0] / "logs").iterdir():
            for record in tf.data.TFRecordDataset(str(path)):
                event = tf.compat.v1.Event.FromString(record.numpy())
                for value in event.summary.value:
                    found[event.step, value.tag] = tf.make_ndarray(value.tensor)
        for row in read_history(staged[0] / "history.csv", 5):
            assert found[row.step, "loss/train"] == np.float32(row.train_loss)
            # One image: X̂, F(X̂) and the map.
            assert tf.io.decode_png(found[row.step, "select"][2]).shape == (24, 72, 3)


class TestGated:
    """A network that is gated goes the same way."""

    CHANGES = {
        "training.stages": [{"size": 32, "batch_size": 2, "steps": 4}],
        "training.evaluations": 2,
        "training.learning_rate": 0.02,
    }

    @pytest.fixture
    def gated(self, caches, configure, small):
        def make(reporter=None):
            config = configure(self.CHANGES, gated=True)
            return Trainer(*caches, config, reporter or Reporter(quiet=True))

        return make

    def test_stopped_it_comes_to_the_same(self, gated, tmp_path):
        model = gated().train(tmp_path / "whole")
        with pytest.raises(TrainingInterrupted):
            gated(Interrupting(1)).train(tmp_path / "stopped")
        other = gated().train(tmp_path / "stopped", resume=True)
        assert_same(final(tmp_path / "stopped"), final(tmp_path / "whole"))
        assert_same(values(other), values(model))
        assert "gate/kernel" in best(tmp_path / "whole")

    def test_the_last_is_kept_even_where_its_loss_is_higher(self, gated, tmp_path, monkeypatch):
        validated, losses, validate = [], iter([1.0, 2.0]), Validator.validate

        def scripted(self):
            validated.append(values(self._model))
            return dataclasses.replace(validate(self), criterion=next(losses))

        monkeypatch.setattr(Validator, "validate", scripted)
        model = gated().train(tmp_path)
        assert_same(best(tmp_path), validated[1])
        assert_same(values(model), validated[1])
        assert [row.best for row in read_history(tmp_path / "history.csv", 4)] == [True, True]

    def test_it_learns_what_to_repaint_and_how(self, gated, tmp_path):
        one = gated()
        before = values(one.model)
        after = values(one.train(tmp_path))
        for name in ("gate/kernel", "reconstruction/kernel", "conv/kernel"):
            assert not np.allclose(after[name], before[name], rtol=1e-4), name

    def test_the_sheet_shows_f_and_the_map_of_the_gate(self, gated, tmp_path, monkeypatch):
        sheets = []
        monkeypatch.setattr(
            loop.TensorBoard, "sheet", lambda self, step, *parts: sheets.append((step, *parts))
        )
        one = gated()
        one.train(tmp_path)
        assert [step for step, *_ in sheets] == [2, 4]
        # The last one was validated as the network is kept now.
        _, x_hat, reconstruction, maps = sheets[-1]
        found = answer(one.model(x_hat, training=False))
        np.testing.assert_allclose(reconstruction, found.reconstruction, atol=1e-5)
        expected = gaussian_filter(found.gate, one.config.scoring.sigma)[..., 0]
        np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_figures_of_training_are_means_since_the_last_row(trainer, tmp_path, monkeypatch):
    figures = [(float(k), 0.1 * k, 0.2 * k) for k in range(5)]
    remaining = iter(figures)
    monkeypatch.setattr(loop, "make_step", lambda *_: lambda step, x: next(remaining))
    trainer(STAGED).train(tmp_path)
    rows = read_history(tmp_path / "history.csv", 5)
    assert [row.train_loss for row in rows] == [0.5, 2.0, 3.5]
    assert [row.train_inside for row in rows] == pytest.approx([0.1, 0.4, 0.7])
