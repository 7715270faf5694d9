"""Never over an existing run, and nothing left behind; what is refused early."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssae_tf import config as config_module
from ssae_tf import workflow
from ssae_tf.config import RunConfig
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, RunError
from ssae_tf.files import not_written
from ssae_tf.run_folder import writing
from ssae_tf.training.loop import TrainingInterrupted
from stand_ins import Listener
from untrained import Stub, json_of, truncate, write_image


def test_an_existing_run_is_kept(
    fit: Callable[..., workflow.Fitted], root: Path, tmp_path: Path
) -> None:
    fit()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(RunError) as caught:
        fit()
    assert str(caught.value) == (
        f"{tmp_path / 'run'}: exists; --overwrite replaces it, --out chooses another."
    )
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_overwrite_replaces_all_of_it(
    fit: Callable[..., workflow.Fitted], root: Path, tmp_path: Path
) -> None:
    run = fit().folder
    (run / "sheets" / "old.png").write_bytes(b"")
    (run / "ablation.json").write_bytes(b"")
    shutil.rmtree(root / "tile" / "test")
    fit(overwrite=True)
    names = {path.name for path in run.iterdir()}
    assert names == {
        "calibration.json",
        "config.json",
        "environment.json",
        "card.md",
        "golden",
        "report.html",
        "split.json",
        "ssae_tf.json",
        "weights.npz",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"data", "run"}


def test_the_old_run_stays_until_the_new_one_is_complete(
    fit: Callable[..., workflow.Fitted],
    config: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listener: Listener,
) -> None:
    run = fit().folder
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    new = tmp_path / ".run.new"

    def stop(self: Stub, folder: Path, *, resume: bool = False) -> None:
        assert folder == new
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "state.npz").write_bytes(b"")
        raise TrainingInterrupted(3, 9, str(folder), 15)

    changed = config_module.override(config, {"training.seed": 5})
    with monkeypatch.context() as patch:
        patch.setattr(Stub, "train", stop)
        with pytest.raises(TrainingInterrupted) as caught:
            fit(config=changed, overwrite=True)
    assert caught.value.number == 15
    assert str(caught.value) == (
        f"Interrupted after step 3 of 9; everything is saved in {new}, and {run} is as it was. "
        f"Go on with: ssae-tf fit --resume {run}"
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    with pytest.raises(RunError, match=f"`ssae-tf fit --resume {run}` goes on with it"):
        fit()
    fitted = workflow.resume(run, reporter=listener)
    assert (Stub.last.resumed, fitted.folder) == (True, run)
    assert config_module.load(run / "config.json").training.seed == 5
    assert not new.exists()
    listener.said.clear()
    again = workflow.resume(run, reporter=listener)
    assert listener.said == [f"{run}: is finished, nothing is left to do."]
    assert again.metrics == fitted.metrics


def test_a_training_that_had_not_begun_is_begun_anew(
    fit: Callable[..., workflow.Fitted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(BaseException):
        """Ends everything without tidying up."""

    def stop(*_: object, **__: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(Stub, "train", stop)
        with pytest.raises(PowerCutError):
            fit(minutes=0.5)
    fitted = workflow.resume(tmp_path / "run", reporter=Listener())
    # With the same command's settings.
    assert (Stub.last.resumed, Stub.last.seconds) == (False, 30.0)
    assert fitted.metrics == json_of(tmp_path / "run" / "metrics.json")


@pytest.mark.parametrize("is_ours", [False, True])
def test_a_full_disk_says_what_is_kept(
    is_ours: bool,
    fit: Callable[..., workflow.Fitted],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"

    def full(*_: object, **__: object) -> None:
        path = run / "checkpoints" / "state.npz"
        error = OSError(28, "No space left on device", str(path))
        raise not_written(path, error) if is_ours else error

    monkeypatch.setattr(Stub, "train", full)
    with pytest.raises(RunError) as caught:
        fit()
    assert str(caught.value) == (
        f"{run}/checkpoints/state.npz: can't be written (No space left on device); {run} is kept "
        f"as it is, and `ssae-tf fit --resume {run}` goes on."
    )


def test_calibrate_waits_for_no_other_writer(
    fit: Callable[..., workflow.Fitted], listener: Listener
) -> None:
    run = fit().folder
    with (
        writing(run, "ssae-tf evaluate"),
        pytest.raises(RunError, match=r"run: `ssae-tf evaluate` \(process \d+, since"),
    ):
        workflow.calibrate(run, min_area=5, reporter=listener)
    # Reading goes on.
    with writing(run, "ssae-tf calibrate"):
        Detector.load(run)


def test_overwrite_fails_before_anything_is_lost(
    fit: Callable[..., workflow.Fitted], root: Path, tmp_path: Path
) -> None:
    run = fit().folder
    truncate(root / "tile" / "test" / "crack" / "000.png")
    with pytest.raises(DataError):
        fit(overwrite=True)
    assert (run / "metrics.json").is_file()


def test_an_empty_folder_is_taken(fit: Callable[..., workflow.Fitted], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert (fit().folder / "metrics.json").is_file()


def test_an_unfinished_run_can_be_gone_on_with(
    fit: Callable[..., workflow.Fitted], tmp_path: Path
) -> None:
    run = fit().folder
    (run / "calibration.json").unlink()
    with pytest.raises(RunError) as caught:
        fit()
    assert "--resume" not in str(caught.value)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "state.npz").write_bytes(b"")
    with pytest.raises(RunError, match=f"`ssae-tf fit --resume {run}` goes on with it"):
        fit()


@pytest.mark.parametrize(
    "name",
    [
        "train/good/000.png",
        "test/good/001.png",
        "test/stain/001.png",
        "ground_truth/stain/000_mask.png",
    ],
)
def test_an_unreadable_file_is_named_before_training(
    name: str, fit: Callable[..., workflow.Fitted], root: Path, tmp_path: Path
) -> None:
    """Whether training, the threshold or the test needs it: not after hours."""
    truncate(root / "tile" / name)
    with pytest.raises(DataError, match=f"{name}: "):
        fit()
    assert not (tmp_path / "run").exists()


def test_a_mask_of_another_size_is_named_before_training(
    fit: Callable[..., workflow.Fitted], root: Path, tmp_path: Path
) -> None:
    write_image(root / "tile/ground_truth/crack/001_mask.png", np.zeros((32, 64), np.uint8))
    with pytest.raises(DataError, match=r"001_mask\.png: the mask is 64 x 32 pixels"):
        fit()
    assert not (tmp_path / "run").exists()


def test_a_place_that_can_not_be_written_is_named_before_training(
    fit: Callable[..., workflow.Fitted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_no_image(*_: object) -> None:
        raise AssertionError("the images were read first")

    monkeypatch.setattr(workflow, "prepare", read_no_image)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"run: can't be made, .*file is a file\.$"):
        fit(out=tmp_path / "file" / "deep" / "run")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(RunError, match=rf"run: .*, {tmp_path} is read-only\.$"):
        fit(out=tmp_path / "deep" / "run")
    assert [path.name for path in tmp_path.iterdir() if path.name != "data"] == ["file"]


def test_a_training_that_fails_is_no_finished_run(
    fit: Callable[..., workflow.Fitted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stub, "train", fail)
    with pytest.raises(KeyboardInterrupt):
        fit()
    with pytest.raises(RunError, match="no finished run"):
        Detector.load(tmp_path / "run")
