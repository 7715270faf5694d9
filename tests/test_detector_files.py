"""Detectors and their run folders: saved, loaded, and refused in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig
from ssae_tf.detector import Detector
from ssae_tf.errors import ConfigError, RunError, SsaeError
from stand_ins import assert_same


def test_a_saved_detector_says_the_same(
    trained: Detector, sample_root: Path, tmp_path: Path
) -> None:
    trained.save(tmp_path / "new" / "folder")
    again = Detector.load(tmp_path / "new" / "folder")
    assert (again.config, again.calibration) == (trained.config, trained.calibration)
    for image in sorted((sample_root / "tile" / "test").glob("*/000.png")):
        result = trained.predict(image)
        assert result.path == str(image)
        assert_same(again.predict(image), result)


def test_a_loaded_run_has_the_scores_of_the_network_that_was_trained(
    trained: Detector, sample_root: Path
) -> None:
    calibration = trained.calibrated()
    assert len(calibration.names) == len(calibration.scores) > 1
    images: list[Any] = [sample_root / "tile" / name for name in calibration.names]
    scores = [result.score for result in trained.predict(images)]
    assert scores == pytest.approx(list(calibration.scores), rel=1e-5)


def test_saving_over_a_run_keeps_what_it_is(trained: Detector, run_copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in run_copy.glob("*.json")}
    trained.save(str(run_copy))
    assert {path.name: path.read_bytes() for path in run_copy.glob("*.json")} == before


def test_without_threshold_there_is_no_verdict(grey: tf.keras.Model, tmp_path: Path) -> None:
    detector = Detector(grey, RunConfig())
    with pytest.raises(RunError, match="no threshold yet"):
        detector.predict(np.zeros((8, 8), np.uint8))
    with pytest.raises(RunError, match="no threshold yet"):
        detector.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    reconstruction, map_ = detector.inspect(np.zeros((8, 8, 3), np.float32))
    assert (reconstruction.shape, map_.shape) == ((8, 8, 3), (8, 8))


def test_a_save_that_fails_leaves_no_finished_run(
    trained: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("ssae_tf.detector.write_text", full)
    with pytest.raises(OSError, match="no space"):
        trained.save(tmp_path)
    with pytest.raises(RunError, match=r"has no config\.json"):
        Detector.load(tmp_path)


def test_load_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(RunError, match=rf"{path.name}: no such run folder\."):
            Detector.load(path)


@pytest.mark.parametrize("name", ["config.json", "weights.npz", "calibration.json"])
def test_load_names_what_is_missing(name: str, run_copy: Path) -> None:
    (run_copy / name).unlink()
    with pytest.raises(RunError, match=f"copy: has no {name}, so this is no finished run"):
        Detector.load(run_copy)


@pytest.mark.parametrize("name", ["config.json", "weights.npz", "calibration.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"null", b"\xff\xfe"])
def test_load_names_what_is_broken(name: str, content: bytes, run_copy: Path) -> None:
    # Settings may be empty: then the network is another one.
    named = "weights.npz" if (name, content) == ("config.json", b"{}") else name
    (run_copy / name).write_bytes(content)
    with pytest.raises(SsaeError) as caught:
        Detector.load(run_copy)
    assert str(caught.value).startswith(f"{run_copy / named}: ")
    assert "\n" not in str(caught.value)


def test_load_names_weights_of_another_network(run_copy: Path) -> None:
    config = config_module.load(run_copy / "config.json")
    wider = config_module.override(config, {"model.width": 0.125})
    (run_copy / "config.json").write_text(config_module.to_json(wider))
    with pytest.raises(RunError, match=r"weights\.npz: weight '.+' has shape"):
        Detector.load(run_copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": float("nan")}, "`threshold` should be a finite number, received NaN."),
        ({"threshold": float("inf")}, "`threshold` should be a finite number"),
        ({"threshold": -0.1}, "`threshold` should be greater than or equal to 0, received -0.1."),
        ({"threshold": "0.1"}, "`threshold` should be a valid number"),
        ({"threshold": True}, "`threshold` should be a valid number"),
        ({"threshold": None}, "`threshold` should be a valid number"),
        ({"min_area": 0}, "`min_area` should be greater than or equal to 1"),
        ({"min_area": 2.0}, "`min_area` should be a valid integer"),
        ({"min_area": 10**30}, "`min_area` should be less than or equal to"),
        ({"scores": 3}, "`scores` should be a valid list"),
        ({"scores": [-0.1, 0.1]}, "`scores.0` should be greater than or equal to 0"),
        ({"scores": [0.1, float("nan")]}, "`scores.1` should be a finite number"),
        ({"n_calibration": 99}, "expected as many `scores` as `n_calibration` says, 99."),
        ({"treshold": 0.1}, "has an unknown `treshold`."),
        ({"schema_version": 0}, "was made by an older version of ssae_tf"),
        ({"schema_version": 3, "new": 1}, "was made by a newer version of ssae_tf"),
    ],
)
def test_load_refuses_a_calibration_that_is_none(
    change: dict[str, Any], message: str, run_copy: Path
) -> None:
    path = run_copy / "calibration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError) as caught:
        Detector.load(run_copy)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("name", ["threshold", "min_area", "scores", "schema_version"])
def test_load_names_what_a_calibration_lacks(name: str, run_copy: Path) -> None:
    path = run_copy / "calibration.json"
    values = json.loads(path.read_text())
    del values[name]
    path.write_text(json.dumps(values))
    with pytest.raises(RunError, match=rf"calibration\.json: has no `{name}`\.$"):
        Detector.load(run_copy)


def test_a_run_of_another_version_says_what_makes_it_anew(run_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    values = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    values["model"]["reach"] = 0.25
    (copy / "config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"Unknown setting `model.reach`.*fit` makes it anew"):
        Detector.load(copy)
