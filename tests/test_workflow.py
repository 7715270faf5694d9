"""Fit, calibrate and evaluate: what lands in the run folder, what decides, what is refused early.

Most tests put a network that answers mid-grey everywhere in the place of training: the map is then
|X − 0.5|, and scores and thresholds can be computed by hand.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssae_tf import calibration as calibration_module
from ssae_tf import config as config_module
from ssae_tf import preview as preview_module
from ssae_tf import run_report, workflow
from ssae_tf.config import RunConfig, from_dict
from ssae_tf.data import per_image
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.images import read_image
from ssae_tf.data.mvtec import Sample, load_category
from ssae_tf.data.split import Split
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, RunError
from ssae_tf.evaluation import run as evaluation_run
from ssae_tf.files import not_written
from ssae_tf.progress import Reporter
from ssae_tf.run_data import run_split
from ssae_tf.run_folder import writing
from ssae_tf.scoring.conformal import FalseAlarmRate
from ssae_tf.scoring.residual_normalization import location_weights
from ssae_tf.scoring.threshold import default_min_area
from ssae_tf.training.loop import TrainingInterrupted
from stand_ins import Listener, grey_network, put_grey_network

FIGURES = {
    "image_auroc",
    "pixel_auroc",
    "aupro",
    "tpr",
    "tnr",
    "balanced_accuracy",
    "f1_image",
    "f1_pixel",
}


class Stub:
    """Stands for the trainer."""

    last: Stub
    model: tf.keras.Model

    def __init__(
        self, train: ImageCache, select: ImageCache, config: RunConfig, reporter: Reporter
    ) -> None:
        Stub.last = self
        self.caches = {"train": train, "select": select}
        self.config = config
        self.seconds: float | None = None
        self.resumed = False

    def fit_to_time(self, seconds: float | None) -> float:
        self.seconds = seconds
        if seconds is not None:
            stages = ({"size": 16, "batch_size": 1, "steps": round(seconds)},)
            self.config = config_module.override(self.config, {"training.stages": stages})
        return 7.0

    def train(self, folder: Path, *, resume: bool = False) -> tf.keras.Model:
        self.resumed = resume
        return Stub.model


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> type[Stub]:
    """F(X) = 0.5 wherever a network would be trained or loaded; sheets are empty files."""
    Stub.model = put_grey_network(monkeypatch, Stub)
    return Stub


@pytest.fixture
def root(sample_root: Path, tmp_path: Path) -> Path:
    """A copy of the sample data."""
    return shutil.copytree(sample_root, tmp_path / "data")


@pytest.fixture
def config() -> RunConfig:
    """Maps as they are, and three images to calibrate on."""
    stage = {"size": 16, "batch_size": 1, "steps": 2}
    return from_dict(
        {
            "scoring": {"smoothing_sigma": 0.0, "inspection_size": "native"},
            "data": {"calibrate_fraction": 0.25},
            "training": {"stages": [stage]},
        }
    )


@pytest.fixture
def fit(
    root: Path, config: RunConfig, untrained: type[Stub], tmp_path: Path, listener: Listener
) -> Callable[..., workflow.Fitted]:
    """Fits the copy of the sample data into tmp_path/run; arguments change what `fit` gets."""

    def call(**changes: Any) -> workflow.Fitted:
        arguments = {"data": root, "out": tmp_path / "run", "config": config, **changes}
        return workflow.fit(reporter=listener, **arguments)

    return call


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def _write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def _opened(map_: np.ndarray, min_area: int) -> float:
    """The image score by trying every level."""
    for level in np.unique(map_)[::-1]:
        _, _, stats, _ = cv2.connectedComponentsWithStats((map_ >= level).astype(np.uint8))
        if stats[1:, cv2.CC_STAT_AREA].max(initial=0) >= min_area:
            return float(level)
    raise AssertionError("no component is large enough")


# The run folder.


def test_a_run_holds_what_the_contract_says(run_folder: Path) -> None:
    files = {str(path.relative_to(run_folder)) for path in run_folder.rglob("*") if path.is_file()}
    logs = {name for name in files if name.startswith("logs/")}
    kinds = ("good", "crack", "missing_grain", "stain")
    assert files - logs == {
        "calibration.json",
        "config.json",
        "environment.json",
        "history.csv",
        "metrics.json",
        "ssae_tf.json",
        "split.json",
        "weights.npz",
        "checkpoints/best.npz",
        "checkpoints/state.npz",
        "report.html",
        "verdicts.csv",
        "weighting.npz",
        "card.md",
        "golden/golden.json",
        *(f"golden/{kind}_{number}.png" for kind in ("normal", "corrupted") for number in (0, 1)),
        *(f"sheets/{kind}.png" for kind in kinds),
    }
    assert len(logs) == 1
    assert "events.out.tfevents" in logs.pop()


def test_metrics_have_the_contracts_keys(run_folder: Path) -> None:
    metrics = _json(run_folder / "metrics.json")
    counts = {"n_test", "n_defective", "n_without_mask"}
    top = {"schema_version", "threshold", "min_area", "kinds", "projection"}
    assert set(metrics) == FIGURES | counts | top
    assert set(metrics["kinds"]) == {"crack", "missing_grain", "stain"}
    for figures in metrics["kinds"].values():
        assert set(figures) == FIGURES | counts
        assert (figures["n_test"], figures["n_defective"]) == (4, 2)
    assert (metrics["schema_version"], metrics["n_test"], metrics["n_without_mask"]) == (1, 8, 0)
    for key in FIGURES:
        assert 0.0 <= metrics[key] <= 1.0
    assert metrics["balanced_accuracy"] == pytest.approx((metrics["tpr"] + metrics["tnr"]) / 2)


def test_the_threshold_is_the_highest_score_of_the_calibration_images(
    run_folder: Path, sample_root: Path, shared_network: None
) -> None:
    calibration = _json(run_folder / "calibration.json")
    names = _json(run_folder / "split.json")["calibrate"]
    assert set(calibration) == {
        "schema_version",
        "min_area",
        "threshold",
        "review_threshold",
        "n_calibration",
        "scores",
        "names",
        "seen",
        "left_out",
        "data",
        "false_alarms",
        "review_false_alarms",
    }
    assert calibration["names"] == names
    assert calibration["n_calibration"] == len(calibration["scores"]) == len(names) == 3
    assert calibration["min_area"] == default_min_area(64, 64, 4.0) == 70
    assert calibration["threshold"] == max(calibration["scores"])
    detector = Detector.load(run_folder)
    results = [detector.predict(sample_root / "tile" / name) for name in names]
    assert [result.score for result in results] == calibration["scores"]
    assert not any(result.is_anomalous for result in results)
    metrics = _json(run_folder / "metrics.json")
    assert metrics["threshold"] == calibration["threshold"]
    assert metrics["min_area"] == calibration["min_area"]


def test_the_weights_are_those_of_other_images(run_folder: Path, sample_root: Path) -> None:
    detector = Detector.load(run_folder)
    split = _json(run_folder / "split.json")
    plain = Detector(detector.model, detector.config)
    names = (*split["select"], *split["train"])
    maps = [plain.inspect(read_image(sample_root / "tile" / name))[1] for name in names]
    expected = location_weights(maps, left_right=True, top_bottom=True, turned=True)
    np.testing.assert_allclose(detector.weights, expected, rtol=1e-4)


@pytest.mark.parametrize("normalize", ["none", "location"])
def test_weights_only_where_they_are_asked_for(
    fit: Callable[..., workflow.Fitted],
    config: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    normalize: str,
) -> None:
    monkeypatch.setattr(calibration_module, "_WEIGHTING_IMAGES", 4)
    seen: list[Any] = []

    def weights(maps: list[Any], *_: Any, **symmetries: bool) -> np.ndarray:
        seen.append(len(maps))
        return np.full((2, 2), 1.5, np.float32)

    monkeypatch.setattr(calibration_module, "location_weights", weights)
    plain = fit(config=config_module.override(config, {"scoring.normalize": "none"}))
    changes = {"scoring.normalize": normalize}
    fitted = fit(config=config_module.override(config, changes), overwrite=True)
    assert seen == ([4] if normalize == "location" else [])
    assert (fitted.folder / "weighting.npz").is_file() == (normalize == "location")
    factor = 1.5 if normalize == "location" else 1.0
    assert fitted.metrics is not None
    assert plain.metrics is not None
    assert fitted.metrics["threshold"] == pytest.approx(factor * plain.metrics["threshold"])


def test_with_few_images_the_threshold_is_that_of_one_nothing_was_fitted_to() -> None:
    samples = [Sample(Path(f"{index}.png"), "good") for index in range(4)]
    train, select = tuple(samples[:3]), tuple(samples[3:])
    used = calibration_module._not_calibrated_with
    assert used(Split(train, select, tuple(samples))) == list(train)
    # With parts of their own, and with so few that each is in every part.
    assert used(Split(train[:2], select, train[2:])) == [*select, *train[:2]]
    assert used(Split(select, select, select)) == list(select)


def test_the_split_is_listed(run_folder: Path) -> None:
    split = _json(run_folder / "split.json")
    assert {part: len(names) for part, names in split.items()} == {
        "train": 8,
        "select": 1,
        "calibrate": 3,
    }
    names = [name for part in split.values() for name in part]
    assert len(set(names)) == 12
    assert all(name.startswith("train/good/") for name in names)


def test_environment_says_what_a_result_depends_on(run_folder: Path, sample_root: Path) -> None:
    environment = _json(run_folder / "environment.json")
    assert environment["tensorflow"] == tf.__version__
    assert environment["keras"].split(".")[0] in ("2", "3")
    assert environment["data"] == str(sample_root.resolve())
    assert len(environment["data_hash"]) == 64
    for key in ("ssae_tf", "numpy", "python", "platform", "devices", "command", "started"):
        assert environment[key]


def test_history_has_a_row_per_evaluation(run_folder: Path) -> None:
    with (run_folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    assert any(row["best"] == "True" for row in rows)


def test_config_is_that_of_the_fit(run_folder: Path) -> None:
    config = config_module.load(run_folder / "config.json")
    assert (config.category, config.preset, config.model.width) == ("tile", "quick", 0.0625)
    assert config.training.steps == 6


def test_fit_returns_what_it_wrote(fit: Callable[..., workflow.Fitted], tmp_path: Path) -> None:
    fitted = fit()
    assert fitted.folder == tmp_path / "run"
    assert fitted.metrics == _json(fitted.folder / "metrics.json")
    calibration = fitted.detector.calibration
    assert calibration is not None
    assert calibration.to_dict() == _json(fitted.folder / "calibration.json")


def test_the_default_folder(
    fit: Callable[..., workflow.Fitted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fit(out=None).folder == Path("runs/tile")
    assert (tmp_path / "runs" / "tile" / "metrics.json").is_file()


def test_the_default_settings(
    fit: Callable[..., workflow.Fitted], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = fit(config=None).detector.config
    # What depends on the size of the images is resolved, and these are few.
    quick = config_module.for_few(config_module.preset("quick", "tile"), 1)
    assert config == config_module.resolve(quick, 256)
    assert config.scoring.sigma == 2.0


def test_minutes_become_a_recorded_number_of_steps(
    fit: Callable[..., workflow.Fitted], tmp_path: Path, listener: Listener
) -> None:
    fit(minutes=0.5)
    assert Stub.last.seconds == 30.0
    assert config_module.load(tmp_path / "run" / "config.json").training.steps == 30
    assert any("7 s: 30 steps at 16²" in line for line in listener.said)
    assert not any("--minutes" in line for line in listener.said)


def test_the_cost_is_told_before(fit: Callable[..., workflow.Fitted], listener: Listener) -> None:
    fit()
    (line,) = [line for line in listener.said if line.startswith("Training takes about 7 s")]
    for way in ("--minutes N", "--preset quick", "model.width", "a GPU"):
        assert way in line


def test_what_is_calibrated_is_what_will_be_loaded(
    fit: Callable[..., workflow.Fitted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training may compute in bfloat16, inspection does not: their scores differ."""
    loaded = grey_network()
    monkeypatch.setattr(workflow, "load_network", lambda config, weights: loaded)
    assert fit().detector.model is loaded


def test_a_plain_folder_of_good_images(
    fit: Callable[..., workflow.Fitted], root: Path, listener: Listener, tmp_path: Path
) -> None:
    fitted = fit(data=root / "tile" / "train" / "good", category="my tiles")
    assert fitted.metrics is None
    assert fitted.detector.config.category == "my tiles"
    assert not (fitted.folder / "metrics.json").exists()
    assert not (fitted.folder / "sheets").exists()
    again = workflow.calibrate(fitted.folder, min_area=5, reporter=listener)
    assert again.calibration is not None
    assert again.calibration.min_area == 5


@pytest.mark.parametrize("count", [1, 3, 5])
def test_few_images_are_told(
    count: int, fit: Callable[..., workflow.Fitted], root: Path, listener: Listener
) -> None:
    for path in sorted((root / "tile" / "train" / "good").iterdir())[count:]:
        path.unlink()
    fitted = fit()
    assert fitted.detector.calibration is not None
    assert any("good image" in warning for warning in listener.warned)


# Never over an existing run, and nothing left behind.


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
    assert fitted.metrics == _json(tmp_path / "run" / "metrics.json")


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
    _truncate(root / "tile" / "test" / "crack" / "000.png")
    with pytest.raises(DataError):
        fit(overwrite=True)
    assert (run / "metrics.json").is_file()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_kept(
    overwrite: bool, fit: Callable[..., workflow.Fitted], tmp_path: Path
) -> None:
    for path in (tmp_path / "folder" / "thesis.txt", tmp_path / "file"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("kept")
        out = tmp_path / path.relative_to(tmp_path).parts[0]
        with pytest.raises(RunError, match="exists and is no run folder; choose another"):
            fit(out=out, overwrite=overwrite)
        assert path.read_text() == "kept"


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
    _truncate(root / "tile" / name)
    with pytest.raises(DataError, match=f"{name}: "):
        fit()
    assert not (tmp_path / "run").exists()


def test_a_mask_of_another_size_is_named_before_training(
    fit: Callable[..., workflow.Fitted], root: Path, tmp_path: Path
) -> None:
    _write(root / "tile/ground_truth/crack/001_mask.png", np.zeros((32, 64), np.uint8))
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


def test_a_missing_category_is_named(fit: Callable[..., workflow.Fitted], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no category 'tiel' \(.+\); found: tile\.$"):
        fit(category="tiel")
    with pytest.raises(DataError, match=r"nowhere: no such folder\.$"):
        fit(data=tmp_path / "nowhere")
    assert not (tmp_path / "run").exists()


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


# Images left out.


def test_skip_unreadable_says_how_many_in_all(
    fit: Callable[..., workflow.Fitted], config: RunConfig, root: Path, listener: Listener
) -> None:
    split = _json(fit().folder / "split.json")
    left_out = [split[part][0] for part in ("train", "calibrate")]
    left_out += ["test/good/000.png", "test/crack/000.png"]
    for name in left_out:
        _truncate(root / "tile" / name)
    # Its image can be read, but not be measured.
    _truncate(root / "tile/ground_truth/stain/001_mask.png")
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
    listed = [name for part in _json(fitted.folder / "split.json").values() for name in part]
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
    _truncate(good[1])
    fit(config=config_module.override(config, {"data.skip_unreadable": True}))
    assert any(line.startswith("1 image left out, the first: ") for line in listener.warned)


def test_all_of_a_part_left_out(
    fit: Callable[..., workflow.Fitted], config: RunConfig, root: Path, tmp_path: Path
) -> None:
    skip = config_module.override(config, {"data.skip_unreadable": True})
    for path in (root / "tile" / "test").glob("*/*"):
        _truncate(path)
    run = fit(config=skip)
    assert run.metrics is None
    with pytest.raises(DataError, match="none of its 8 test images can be used"):
        workflow.evaluate(run.folder, reporter=Listener())
    for name in _json(run.folder / "split.json")["calibrate"]:
        _truncate(root / "tile" / name)
    with pytest.raises(DataError, match="None of the 3 calibration images can be read"):
        workflow.calibrate(run.folder, reporter=Listener())
    with pytest.raises(DataError, match="none of the calibration images can be used"):
        fit(config=skip, overwrite=True)
    assert (run.folder / "calibration.json").is_file()


def test_left_out_later(
    fit: Callable[..., workflow.Fitted], config: RunConfig, root: Path, listener: Listener
) -> None:
    run = fit(config=config_module.override(config, {"data.skip_unreadable": True})).folder
    name = _json(run / "split.json")["calibrate"][1]
    _truncate(root / "tile" / name)
    _truncate(root / "tile/test/crack/001.png")
    _truncate(root / "tile/test/good/001.png")
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
    name = _json(run / "split.json")["calibrate"][1]
    _truncate(root / "tile" / name)
    _truncate(root / "tile/test/crack/001.png")
    with pytest.raises(DataError, match=name):
        workflow.calibrate(run, reporter=Listener())
    with pytest.raises(DataError, match=r"crack/001\.png"):
        workflow.evaluate(run, reporter=Listener())


# The threshold.


def _bright(level: float, area: int) -> np.ndarray:
    """A grey image with a row of `area` pixels of another level."""
    image = np.full((16, 40, 3), 128, np.uint8)
    image[8, 2 : 2 + area] = round(255 * level)
    return image


@pytest.mark.parametrize(
    ("min_area", "level"), [(1, 1.0), (2, 0.9), (3, 0.9), (4, 0.8), (9, 0.8), (10, 128 / 255)]
)
def test_the_threshold_by_hand(
    min_area: int, level: float, fit: Callable[..., workflow.Fitted], tmp_path: Path
) -> None:
    for number, (brightness, area) in enumerate([(1.0, 1), (0.9, 3), (0.8, 9)]):
        _write(tmp_path / "good" / f"{number}.png", _bright(brightness, area))
    run = fit().folder
    detector = workflow.calibrate(
        run, data=tmp_path / "good", min_area=min_area, reporter=Listener()
    )
    assert detector.calibration is not None
    expected = round(255 * level) / 255 - 0.5
    assert detector.calibration.threshold == pytest.approx(expected, abs=1e-6)
    assert detector.calibration.min_area == detector.config.min_area == min_area
    loaded = Detector.load(run)
    assert loaded.calibration == detector.calibration
    assert loaded.config.min_area == min_area


def test_another_min_area_on_the_runs_own_images(
    run_folder: Path, sample_root: Path, tmp_path: Path, listener: Listener, shared_network: None
) -> None:
    run = shutil.copytree(run_folder, tmp_path / "copy")
    before = _json(run / "calibration.json")
    weights = (run / "weights.npz").read_bytes()
    detector = workflow.calibrate(run, min_area=200, reporter=listener)
    after = _json(run / "calibration.json")
    scores = []
    for name in _json(run / "split.json")["calibrate"]:
        image = cv2.imread(str(sample_root / "tile" / name))[..., ::-1].astype(np.float32) / 255
        scores.append(_opened(detector.inspect(image)[1], 200))
    assert after["scores"] == scores
    assert after["threshold"] == max(scores) < before["threshold"]
    assert after["min_area"] == 200
    assert (run / "weights.npz").read_bytes() == weights
    assert any("metrics.json is still that of the threshold before" in s for s in listener.said)
    # Without another it keeps the run's setting, which is now 200.
    workflow.calibrate(run, reporter=listener)
    assert _json(run / "calibration.json") == after


@pytest.mark.parametrize(
    ("changes", "min_area"),
    [
        ({}, 6),
        ({"scoring.smoothing_sigma": 4.0}, 70),
        # Smoothed at a sixth of the width, a pixel spreads over six times as many.
        ({"scoring.smoothing_sigma": 1.0, "scoring.inspection_size": [32, 48]}, 170),
        ({"scoring.smoothing_sigma": 4.0, "min_area": 17}, 17),
    ],
)
def test_the_default_min_area_follows_images_and_smoothing(
    changes: dict[str, Any],
    min_area: int,
    fit: Callable[..., workflow.Fitted],
    config: RunConfig,
    root: Path,
) -> None:
    for path in (root / "tile" / "train" / "good").iterdir():
        _write(path, np.zeros((100, 300, 3), np.uint8))
    calibration = fit(config=config_module.override(config, changes)).detector.calibration
    assert calibration is not None
    assert calibration.min_area == min_area


def test_smaller_images_than_min_area(
    fit: Callable[..., workflow.Fitted], config: RunConfig
) -> None:
    changed = config_module.override(config, {"min_area": 64 * 64 + 1})
    fitted = fit(config=changed)
    assert fitted.metrics is not None
    assert fitted.metrics["min_area"] == 64 * 64 + 1


def test_the_threshold_never_sees_the_test_images(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    """Neither their labels nor their pixels."""
    first = fit()
    test = root / "tile" / "test"
    # Labels: what was good is now called crack, and the reverse.
    for old, new in (("good", "x"), ("crack", "good"), ("x", "crack")):
        (test / old).rename(test / new)
    swapped = fit(overwrite=True)
    for path in test.glob("*/*"):
        _truncate(path)
    recalibrated = workflow.calibrate(swapped.folder, reporter=Listener())
    shutil.rmtree(test)
    untested = fit(overwrite=True)
    assert untested.metrics is None
    assert first.metrics != swapped.metrics
    calibrations = [run.detector.calibration for run in (first, swapped, untested)]
    assert calibrations == [recalibrated.calibration] * 3


def test_calibration_keeps_to_the_images_of_the_run(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    """Images added later could move some that were trained on into the calibration part."""
    fitted = fit()
    good = root / "tile" / "train" / "good"
    for number in range(100, 140):
        shutil.copy(good / "000.png", good / f"{number}.png")
    detector = workflow.calibrate(fitted.folder, reporter=Listener())
    assert detector.calibration == fitted.detector.calibration


def test_validation_images_are_for_the_threshold(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    _write(root / "tile" / "validation" / "good" / "a.png", _bright(0.75, 5))
    calibration = fit().detector.calibration
    assert calibration is not None
    assert calibration.scores == (pytest.approx(191 / 255 - 0.5, abs=1e-6),)


def test_images_of_one_name_are_told_apart(
    fit: Callable[..., workflow.Fitted], root: Path, listener: Listener
) -> None:
    for camera, number in (("cam1", 0), ("cam2", 1)):
        folder = root / "tile/validation/good" / camera
        folder.mkdir(parents=True)
        shutil.copy(root / f"tile/train/good/{number:03}.png", folder / "0.png")
    run = fit().folder
    (line,) = [line for line in listener.said if line.startswith("Highest: ")]
    assert {"cam1/0.png", "cam2/0.png"} <= set(line.split())
    kept = workflow.calibrate(run, without=["cam1/0.png"], reporter=Listener()).calibration
    assert kept is not None
    assert len(kept.scores) == 1
    with pytest.raises(DataError, match=r"the name of one .*, found validation/good/cam1/0\.png, "):
        workflow.calibrate(run, without=["0.png"], reporter=Listener())


def test_what_calibration_passes_over_is_told(
    fit: Callable[..., workflow.Fitted], root: Path, listener: Listener
) -> None:
    run = fit().folder
    good = root / "tile/train/good"
    (good / "later").mkdir()
    (good / "000.png").rename(good / "later/000.png")
    listener.warned.clear()
    workflow.calibrate(run, data=good, reporter=listener)
    assert listener.warned == [f"{good}: images in its folders are left out: later."]


# Evaluation.


def test_evaluate_again_gives_the_same(
    run_folder: Path, tmp_path: Path, shared_network: None
) -> None:
    metrics = workflow.evaluate(run_folder, out=tmp_path, reporter=Listener())
    assert metrics == _json(run_folder / "metrics.json") == _json(tmp_path / "metrics.json")
    names = sorted(path.name for path in (tmp_path / "sheets").iterdir())
    assert names == ["crack.png", "good.png", "missing_grain.png", "stain.png"]
    for name in names:
        assert cv2.imread(str(tmp_path / "sheets" / name)).shape[0] > 200


def test_a_sheet_that_fails_costs_no_figures(
    fit: Callable[..., workflow.Fitted],
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = evaluation_run.write_sheet
    kept = []

    def write_sheet(path: Path, *arguments: Any, **options: Any) -> None:
        kept.append((path.parents[1] / "metrics.json").is_file())
        if path.stem == "crack":
            raise ValueError("no\nroom")
        drawn(path, *arguments, **options)

    monkeypatch.setattr(evaluation_run, "write_sheet", write_sheet)
    fitted = fit()
    assert kept == [True] * 4
    assert fitted.metrics == _json(fitted.folder / "metrics.json")
    sheets = fitted.folder / "sheets"
    assert {path.stem for path in sheets.iterdir()} == {"good", "missing_grain", "stain"}
    assert listener.warned == [
        f"{sheets / 'crack.png'}: the sheet can't be drawn (ValueError: no)."
    ]


def test_names_that_are_not_utf_8_end_nothing(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    tile = root / "tile"
    odd = os.fsdecode(b"caf\xe9")
    for name, ending in (
        ("train/good/000", ".png"),
        ("test/good/000", ".png"),
        ("test/crack/000", ".png"),
        ("ground_truth/crack/000", "_mask.png"),
    ):
        path = tile / f"{name}{ending}"
        path.rename(path.with_name(odd + ending))
    for part in ("test", "ground_truth"):
        (tile / part / "stain").rename(tile / part / odd)
    fitted = fit()
    assert fitted.metrics is not None
    assert fitted.metrics == _json(fitted.folder / "metrics.json")
    assert set(fitted.metrics["kinds"]) == {"crack", "missing_grain", odd}
    assert fitted.metrics["n_without_mask"] == 0
    listed = {name for part in _json(fitted.folder / "split.json").values() for name in part}
    assert f"train/good/{odd}.png" in listed
    again = workflow.evaluate(fitted.folder, out=fitted.folder, reporter=Listener())
    assert again == fitted.metrics
    assert workflow.calibrate(fitted.folder, reporter=Listener()).calibration == (
        fitted.detector.calibration
    )


def test_a_report_that_can_not_be_made_is_a_warning(
    fit: Callable[..., workflow.Fitted], monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    def full(*_: object) -> None:
        raise ValueError("no room")

    monkeypatch.setattr(run_report, "write_report", full)
    run = fit().folder
    assert listener.warned[-1] == (
        f"Without report.html: {run / 'report.html'}: ValueError: no room"
    )
    assert _json(run / "metrics.json")["n_test"] == 8
    assert not (run / "report.html").exists()
    assert (run / "verdicts.csv").read_text().count("\n") == 9


def test_a_report_without_test_images_has_the_promise(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    run = fit(data=root / "tile" / "train" / "good").folder
    page = (run / "report.html").read_text(encoding="utf-8")
    assert FalseAlarmRate(3).sentence() in page
    # The highest of the calibration images, each with its map.
    assert page.count("data:image/jpeg") == 3 * 3
    assert not (run / "verdicts.csv").exists()


def test_the_report_promises_nothing_where_training_has_seen_the_calibration_images(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    for path in sorted((root / "tile" / "train" / "good").iterdir())[5:]:
        path.unlink()
    page = (fit().folder / "report.html").read_text(encoding="utf-8")
    assert "No promise can be made: of the 5 good images" in page


def test_the_report_has_the_promise_of_the_images_it_was_calibrated_on(
    fit: Callable[..., workflow.Fitted], root: Path, tmp_path: Path
) -> None:
    run = fit().folder
    other = tmp_path / "other"
    for index in range(3):
        _write(other / f"{index}.png", np.full((64, 64, 3), 10 * index, np.uint8))
    workflow.calibrate(run, data=other, reporter=Listener())
    workflow.evaluate(run, out=tmp_path, reporter=Listener())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert FalseAlarmRate(3).sentence() in page


def test_images_side_by_side_give_the_same(
    run_folder: Path, shared_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    answers = Detector.answers

    def watched(self: Detector, *arguments: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        seen.add(threading.get_ident())
        return answers(self, *arguments)

    monkeypatch.setattr(Detector, "answers", watched)
    monkeypatch.setattr(per_image, "side_by_side", lambda: 3)
    assert workflow.evaluate(run_folder, reporter=Listener()) == _json(run_folder / "metrics.json")
    assert len(seen) == 3
    scores = _json(run_folder / "calibration.json")["scores"]
    detector = Detector.load(run_folder)
    again = calibration_module.calibrated(
        detector, run_split(run_folder, detector.config)[1].calibrate, Listener()
    )
    assert again.calibration is not None
    assert again.calibration.scores == pytest.approx(scores, rel=1e-5)


def test_a_gate_has_a_lowest_threshold_from_few_images_or_seen_ones(tmp_path: Path) -> None:
    """Of a network whose gate is the red channel."""
    inputs = tf.keras.Input((None, None, 3))
    outputs = tf.keras.layers.Lambda(lambda x: tf.concat([x, x[..., :1], x], axis=-1))(inputs)
    config = config_module.override(
        config_module.preset("quick"),
        {"model.standardize": False, "scoring.smoothing_sigma": 0.0, "min_area": 1},
    )
    detector = Detector(tf.keras.Model(inputs, outputs), config)
    samples = [Sample(tmp_path / f"{number}.png", "good") for number in range(20)]
    for number, sample in enumerate(samples):
        _write(sample.path, np.full((32, 32, 3), 2 * number, np.uint8))
    unseen, seen, few = (
        calibration_module.calibrated(detector, some, Listener(), seen=trained).calibration
        for some, trained in ((samples, ()), (samples, samples[:1]), (samples[:19], ()))
    )
    assert unseen is not None
    assert seen is not None
    assert few is not None
    assert unseen.threshold == pytest.approx(38 / 255)
    assert unseen.false_alarms == FalseAlarmRate(20)
    assert (seen.threshold, seen.false_alarms) == (0.5, None)
    assert (few.threshold, few.false_alarms) == (0.5, FalseAlarmRate(19))
    assert seen.scores == unseen.scores


def test_results_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly they are kept: those of a whole test set would not fit in memory."""

    class Result:
        pass

    alive: weakref.WeakSet[Result] = weakref.WeakSet()
    most = []

    def make(_: object) -> Result:
        result = Result()
        alive.add(result)
        return result

    def keep(_: Result) -> None:
        time.sleep(0.005)
        most.append(len(alive))

    monkeypatch.setattr(per_image, "side_by_side", lambda: 2)
    samples = [Sample(Path("x"), "good")] * 40
    with Listener().task("", len(samples)) as task:
        assert per_image.apply_to(make, samples, task, False, keep) == []
    assert len(most) == 40
    assert max(most) <= 5


def test_figures_by_hand(fit: Callable[..., workflow.Fitted], root: Path) -> None:
    """Good 0.1 and 0.3, defective 0.2 and 0.4; the threshold is 0.25."""
    tile = root / "tile"
    shutil.rmtree(tile / "test")
    shutil.rmtree(tile / "ground_truth")
    _write(tile / "validation/good/0.png", _bright(0.75, 6))
    for name, level in [("good/0", 0.6), ("good/1", 0.8), ("spot/0", 0.7), ("spot/1", 0.9)]:
        _write(tile / "test" / f"{name}.png", _bright(level, 6))
    for number in range(2):
        mask = (_bright(1.0, 6)[..., 0] == 255).astype(np.uint8)
        _write(tile / "ground_truth" / "spot" / f"{number}_mask.png", mask)
    metrics = fit().metrics
    assert metrics is not None
    assert metrics["image_auroc"] == 0.75
    assert (metrics["tpr"], metrics["tnr"], metrics["balanced_accuracy"]) == (0.5, 0.5, 0.5)
    assert metrics["f1_image"] == 0.5
    # 6 pixels found of 12, 6 found in a good image.
    assert metrics["f1_pixel"] == pytest.approx(2 * 6 / (2 * 6 + 6 + 6))
    assert metrics["kinds"]["spot"]["image_auroc"] == 0.75


def test_images_of_one_part_stay_on_one_side(
    fit: Callable[..., workflow.Fitted], config: RunConfig, root: Path
) -> None:
    for number, path in enumerate(sorted((root / "tile" / "train" / "good").iterdir())):
        path.rename(path.with_name(f"part{number // 4}_{number}.png"))
    folder = fit(config=config_module.override(config, {"data.group": r"^part(\d)"})).folder
    split = _json(folder / "split.json")
    parts = [{Path(name).name.partition("_")[0] for name in names} for names in split.values()]
    assert sorted(map(sorted, parts)) == [["part0"], ["part1"], ["part2"]]
    assert _json(folder / "config.json")["data"]["group"] == r"^part(\d)"


def test_without_masks_there_are_no_pixel_figures(
    fit: Callable[..., workflow.Fitted], root: Path, listener: Listener
) -> None:
    shutil.rmtree(root / "tile" / "ground_truth")
    metrics = fit().metrics
    assert metrics is not None
    for key in ("pixel_auroc", "aupro", "f1_pixel"):
        assert metrics[key] is None
        assert metrics["kinds"]["crack"][key] is None
    assert metrics["image_auroc"] is not None
    assert metrics["n_without_mask"] == 6
    assert sum("2 images without a mask" in warning for warning in listener.warned) == 3


def test_one_missing_mask_is_told_and_left_out(
    fit: Callable[..., workflow.Fitted], root: Path, listener: Listener
) -> None:
    (root / "tile/ground_truth/crack/000_mask.png").unlink()
    fitted = fit()
    assert fitted.metrics is not None
    assert fitted.metrics["n_without_mask"] == 1
    assert fitted.metrics["pixel_auroc"] is not None
    listener.warned.clear()
    workflow.evaluate(fitted.folder, reporter=listener)
    (warning,) = listener.warned
    assert "test/crack: 1 image without a mask" in warning


def test_evaluate_with_other_data(
    fit: Callable[..., workflow.Fitted], root: Path, tmp_path: Path, listener: Listener
) -> None:
    fitted = fit()
    other = shutil.copytree(root / "tile", tmp_path / "other" / "slate")
    shutil.rmtree(other / "test" / "stain")
    metrics = workflow.evaluate(
        fitted.folder, data=other.parent, category="slate", reporter=listener
    )
    assert metrics["n_test"] == 6
    assert set(metrics["kinds"]) == {"crack", "missing_grain"}
    # A masks' folder of no kind.
    assert any("stain" in warning for warning in listener.warned)
    assert metrics == workflow.evaluate(
        fitted.detector, data=other.parent, category="slate", reporter=listener
    )


def test_evaluate_says_what_it_lacks(
    fit: Callable[..., workflow.Fitted], root: Path, tmp_path: Path
) -> None:
    fitted = fit()
    with pytest.raises(ValueError, match="Expected `data` beside a detector"):
        workflow.evaluate(fitted.detector)
    with pytest.raises(DataError, match=r"good: has no test images \(test/<kind>/\*\)\.$"):
        workflow.evaluate(fitted.folder, data=root / "tile/train/good")
    with pytest.raises(DataError, match="no category 'slate'"):
        workflow.evaluate(fitted.folder, category="slate")
    fitted.detector.save(tmp_path / "moved")
    with pytest.raises(RunError, match=r"moved/environment\.json: can't be read"):
        workflow.evaluate(tmp_path / "moved")
    (tmp_path / "moved" / "environment.json").write_text("[]")
    with pytest.raises(RunError, match=r"environment\.json: the content should be an object"):
        workflow.evaluate(tmp_path / "moved")
    assert workflow.evaluate(tmp_path / "moved", data=root) == fitted.metrics
    shutil.rmtree(root)
    with pytest.raises(DataError, match=r"data: missing or empty\. .*run were there: --data "):
        workflow.evaluate(fitted.folder)


# Going on.


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
    assert fitted.metrics == _json(interrupted / "metrics.json")
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
        _write(good / "000.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(RunError, match=r"data: the images are not those that .*run was started"):
        workflow.resume(interrupted, reporter=Listener())


def test_resume_says_what_it_lacks(interrupted: Path, root: Path, tmp_path: Path) -> None:
    for name in ("nowhere", "data"):
        with pytest.raises(RunError, match=rf"{name}: has no checkpoints/state\.npz to go on"):
            workflow.resume(tmp_path / name, reporter=Listener())
    environment = _json(interrupted / "environment.json")
    del environment["data_hash"]
    (interrupted / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(RunError, match=r"environment\.json: has no `data_hash`\.$"):
        workflow.resume(interrupted, reporter=Listener())


# Images that have moved.


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
    before = _json(interrupted / "environment.json")
    there = moved(name)
    with pytest.raises(DataError, match=r"data: missing or empty\. .*--data gives their new place"):
        workflow.resume(interrupted, reporter=listener)
    assert _json(interrupted / "environment.json") == before
    fitted = workflow.resume(interrupted, data=there, reporter=listener)
    assert _json(interrupted / "environment.json") == {**before, "data": str(there)}
    assert fitted.metrics == workflow.evaluate(interrupted, category=None, reporter=listener)


def test_resume_refuses_another_place_with_other_images(
    interrupted: Path, root: Path, tmp_path: Path
) -> None:
    before = _json(interrupted / "environment.json")
    other = shutil.copytree(root, tmp_path / "other")
    (other / "tile" / "test" / "crack" / "000.png").unlink()
    with pytest.raises(RunError, match=r"other: the images are not those that .*run was"):
        workflow.resume(interrupted, data=other, reporter=Listener())
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        workflow.resume(interrupted, data=tmp_path / "nowhere", reporter=Listener())
    assert _json(interrupted / "environment.json") == before


def test_calibration_takes_the_runs_own_images_where_they_are_now(
    fit: Callable[..., workflow.Fitted], moved: Callable[[str], Path], root: Path, tmp_path: Path
) -> None:
    fitted = fit()
    own = shutil.copytree(root / "tile/train/good", tmp_path / "good")
    before = _json(fitted.folder / "environment.json")
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
    assert _json(fitted.folder / "environment.json") == before


def test_a_place_that_holds_something_else_is_named(
    fit: Callable[..., workflow.Fitted], root: Path
) -> None:
    fitted = fit()
    shutil.rmtree(root / "tile" / "train")
    with pytest.raises(DataError, match=r"to learn from\. The images of .*run were there"):
        workflow.calibrate(fitted.folder, reporter=Listener())


# Preview.


def test_preview_shows_images_as_training_corrupts_them(
    sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    def draw(path: Path, columns: dict[str, Any]) -> None:
        drawn.update(columns, path=path)

    monkeypatch.setattr(preview_module, "write_grid", draw)
    stage = {"size": 32, "batch_size": 1, "steps": 1}
    config = from_dict({"training": {"stages": [stage]}})
    path = preview_module.preview(
        sample_root, "tile", config, tmp_path / "out", rows=3, reporter=Listener()
    )
    assert path == drawn.pop("path") == tmp_path / "out" / "preview.png"
    x, x_hat, mask, difference = drawn.values()
    assert x.shape == x_hat.shape == (3, 32, 32, 3)
    assert mask.shape == difference.shape == (3, 32, 32)
    for index in range(3):
        assert mask[index].any()
        assert difference[index].max() > 0
        np.testing.assert_array_equal(x[index][~mask[index]], x_hat[index][~mask[index]])
    np.testing.assert_allclose(difference, np.abs(x_hat - x).mean(axis=-1), atol=1e-6)
    category = load_category(sample_root, "tile")
    whole = [cv2.imread(str(sample.path))[..., ::-1] for sample in category.train[:3]]
    means = sorted(float(image.mean()) / 255 for image in whole)
    np.testing.assert_allclose(sorted(x.mean(axis=(1, 2, 3)).tolist()), means, atol=1e-3)


def test_preview_needs_images(sample_root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no category 'slate'"):
        preview_module.preview(sample_root, "slate", RunConfig(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
