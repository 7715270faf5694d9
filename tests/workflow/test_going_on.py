"""Going on with a training, also where its images have moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssae_tf import config as config_module
from ssae_tf import workflow
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, RunError
from stand_ins import Listener
from untrained import Stub, json_of, write_image


@pytest.fixture
def interrupted(fit: Callable[..., workflow.Fitted]) -> Path:
    """A run that was stopped in training, as far as the workflow can tell."""
    run = fit().folder
    for name in ("calibration.json", "metrics.json", "weights.npz"):
        (run / name).unlink()
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "state.npz").write_bytes(b"")
    return run


def test_resume_finishes_the_run(interrupted: Path, listener: Listener) -> None:
    config = config_module.load(interrupted / "config.json")
    fitted = workflow.resume(interrupted, reporter=listener)
    assert Stub.last.resumed
    assert Stub.last.seconds is None
    assert Stub.last.config == config
    assert fitted.folder == interrupted
    assert fitted.metrics == json_of(interrupted / "metrics.json")
    Detector.load(interrupted)


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "other size"])
def test_resume_refuses_other_images(change: str, interrupted: Path, root: Path) -> None:
    good = root / "tile" / "train" / "good"
    if change == "added":
        shutil.copy(good / "000.png", good / "100.png")
    elif change == "removed":
        (good / "000.png").unlink()
    elif change == "renamed":
        (good / "000.png").rename(good / "100.png")
    else:
        write_image(good / "000.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(RunError, match=r"data: the images are not those that .*run was started"):
        workflow.resume(interrupted, reporter=Listener())


def test_resume_says_what_it_lacks(interrupted: Path, root: Path, tmp_path: Path) -> None:
    for name in ("nowhere", "data"):
        with pytest.raises(RunError, match=rf"{name}: has no checkpoints/state\.npz to go on"):
            workflow.resume(tmp_path / name, reporter=Listener())
    environment = json_of(interrupted / "environment.json")
    del environment["data_hash"]
    (interrupted / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(RunError, match=r"environment\.json: has no `data_hash`\.$"):
        workflow.resume(interrupted, reporter=Listener())


@pytest.fixture
def moved(root: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Moves the images of a run to another folder, under the root of their category or alone."""

    def move(name: str) -> Path:
        return Path(shutil.move(root if name == "root" else root / "tile", tmp_path / "there"))

    return move


@pytest.mark.parametrize("name", ["root", "category"])
def test_resume_goes_on_where_the_images_are_now(
    name: str, interrupted: Path, moved: Callable[[str], Path], listener: Listener
) -> None:
    before = json_of(interrupted / "environment.json")
    there = moved(name)
    with pytest.raises(DataError, match=r"data: missing or empty\. .*--data gives their new place"):
        workflow.resume(interrupted, reporter=listener)
    assert json_of(interrupted / "environment.json") == before
    fitted = workflow.resume(interrupted, data=there, reporter=listener)
    assert json_of(interrupted / "environment.json") == {**before, "data": str(there)}
    assert fitted.metrics == workflow.evaluate(interrupted, category=None, reporter=listener)


def test_resume_refuses_another_place_with_other_images(
    interrupted: Path, root: Path, tmp_path: Path
) -> None:
    before = json_of(interrupted / "environment.json")
    other = shutil.copytree(root, tmp_path / "other")
    (other / "tile" / "test" / "crack" / "000.png").unlink()
    with pytest.raises(RunError, match=r"other: the images are not those that .*run was"):
        workflow.resume(interrupted, data=other, reporter=Listener())
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        workflow.resume(interrupted, data=tmp_path / "nowhere", reporter=Listener())
    assert json_of(interrupted / "environment.json") == before


def test_calibration_takes_the_runs_own_images_where_they_are_now(
    fit: Callable[..., workflow.Fitted], moved: Callable[[str], Path], root: Path, tmp_path: Path
) -> None:
    fitted = fit()
    own = shutil.copytree(root / "tile/train/good", tmp_path / "good")
    before = json_of(fitted.folder / "environment.json")
    there = moved("root")
    with pytest.raises(DataError, match=r"data: missing or empty\."):
        workflow.calibrate(fitted.folder, reporter=Listener())
    calibration = fitted.detector.calibration
    assert calibration is not None
    again = workflow.calibrate(fitted.folder, data=there, reporter=Listener()).calibration
    assert again == calibration
    assert len(calibration.scores) == 3
    # All of a folder that is not the run's data.
    others = workflow.calibrate(fitted.folder, data=own, reporter=Listener()).calibration
    assert others is not None
    assert len(others.scores) == 12
    assert json_of(fitted.folder / "environment.json") == before


def test_a_place_that_holds_something_else_is_named(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    fitted = fit()
    shutil.rmtree(root / "tile" / "train")
    with pytest.raises(DataError, match=r"to learn from\. The images of .*run were there"):
        workflow.calibrate(fitted.folder, reporter=Listener())
