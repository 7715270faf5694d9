"""Images that are left out, and said to be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ssae_tf import config as config_module
from ssae_tf import workflow
from ssae_tf.config import RunConfig
from ssae_tf.errors import DataError
from stand_ins import Listener
from untrained import json_of, truncate


def test_skip_unreadable_says_how_many_in_all(
    fit: Callable[..., workflow.Fitted], config: RunConfig, root: Path, listener: Listener
) -> None:
    split = json_of(fit().folder / "split.json")
    left_out = [split[part][0] for part in ("train", "calibrate")]
    left_out += ["test/good/000.png", "test/crack/000.png"]
    for name in left_out:
        truncate(root / "tile" / name)
    # Its image can be read, but not be measured.
    truncate(root / "tile/ground_truth/stain/001_mask.png")
    listener.warned.clear()
    fitted = fit(
        config=config_module.override(config, {"data.skip_unreadable": True}), overwrite=True
    )
    (warning,) = listener.warned
    assert warning.startswith("5 images left out, the first: ")
    assert split["train"][0] in warning
    assert fitted.metrics is not None
    assert (fitted.metrics["n_test"], fitted.metrics["n_defective"]) == (5, 4)
    calibration = fitted.detector.calibration
    assert calibration is not None
    assert len(calibration.scores) == 2
    listed = [name for part in json_of(fitted.folder / "split.json").values() for name in part]
    assert len(listed) == 10
    assert not set(listed) & set(left_out)
    (line,) = [line for line in listener.said if line.startswith("tile: 10 good images")]
    assert "5 test" in line


def test_a_shared_image_is_left_out_once(
    fit: Callable[..., workflow.Fitted], config: RunConfig, root: Path, listener: Listener
) -> None:
    good = sorted((root / "tile" / "train" / "good").iterdir())
    for path in good[3:]:
        path.unlink()
    truncate(good[1])
    fit(config=config_module.override(config, {"data.skip_unreadable": True}))
    assert any(line.startswith("1 image left out, the first: ") for line in listener.warned)


def test_all_of_a_part_left_out(
    fit: Callable[..., workflow.Fitted], config: RunConfig, root: Path, tmp_path: Path
) -> None:
    skip = config_module.override(config, {"data.skip_unreadable": True})
    for path in (root / "tile" / "test").glob("*/*"):
        truncate(path)
    run = fit(config=skip)
    assert run.metrics is None
    with pytest.raises(DataError, match="none of its 8 test images can be used"):
        workflow.evaluate(run.folder, reporter=Listener())
    for name in json_of(run.folder / "split.json")["calibrate"]:
        truncate(root / "tile" / name)
    with pytest.raises(DataError, match="None of the 3 calibration images can be read"):
        workflow.calibrate(run.folder, reporter=Listener())
    with pytest.raises(DataError, match="none of the calibration images can be used"):
        fit(config=skip, overwrite=True)
    assert (run.folder / "calibration.json").is_file()


def test_left_out_later(
    fit: Callable[..., workflow.Fitted], config: RunConfig, root: Path, listener: Listener
) -> None:
    run = fit(config=config_module.override(config, {"data.skip_unreadable": True})).folder
    name = json_of(run / "split.json")["calibrate"][1]
    truncate(root / "tile" / name)
    truncate(root / "tile/test/crack/001.png")
    truncate(root / "tile/test/good/001.png")
    workflow.calibrate(run, reporter=listener)
    workflow.evaluate(run, reporter=listener)
    assert [line.partition(",")[0] for line in listener.warned] == [
        "1 image left out",
        "2 images left out",
    ]


def test_without_skip_unreadable_calibrate_and_evaluate_stop(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    run = fit().folder
    name = json_of(run / "split.json")["calibrate"][1]
    truncate(root / "tile" / name)
    truncate(root / "tile/test/crack/001.png")
    with pytest.raises(DataError, match=name):
        workflow.calibrate(run, reporter=Listener())
    with pytest.raises(DataError, match=r"crack/001\.png"):
        workflow.evaluate(run, reporter=Listener())
