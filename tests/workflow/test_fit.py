"""What lands in the run folder, and what `fit` takes and says."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from ssae_tf import config as config_module
from ssae_tf import workflow
from ssae_tf.detector import Detector
from ssae_tf.scoring.threshold import default_min_area
from stand_ins import FIGURES, Listener
from untrained import Stub, json_of


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
        "card.md",
        "golden/golden.json",
        *(f"golden/{kind}_{number}.png" for kind in ("normal", "corrupted") for number in (0, 1)),
        *(f"sheets/{kind}.png" for kind in kinds),
    }
    assert len(logs) == 1
    assert "events.out.tfevents" in logs.pop()


def test_metrics_have_the_contracts_keys(run_folder: Path) -> None:
    metrics = json_of(run_folder / "metrics.json")
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
    calibration = json_of(run_folder / "calibration.json")
    names = json_of(run_folder / "split.json")["calibrate"]
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
    metrics = json_of(run_folder / "metrics.json")
    assert metrics["threshold"] == calibration["threshold"]
    assert metrics["min_area"] == calibration["min_area"]


def test_the_split_is_listed(run_folder: Path) -> None:
    split = json_of(run_folder / "split.json")
    assert {part: len(names) for part, names in split.items()} == {
        "train": 8,
        "select": 1,
        "calibrate": 3,
    }
    names = [name for part in split.values() for name in part]
    assert len(set(names)) == 12
    assert all(name.startswith("train/good/") for name in names)


def test_environment_says_what_a_result_depends_on(run_folder: Path, sample_root: Path) -> None:
    environment = json_of(run_folder / "environment.json")
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
    assert fitted.metrics == json_of(fitted.folder / "metrics.json")
    calibration = fitted.detector.calibration
    assert calibration is not None
    assert calibration.to_dict() == json_of(fitted.folder / "calibration.json")


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
