"""Evaluation: figures by hand, other data, what is said of images without masks."""

from __future__ import annotations

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

from ssae_tf import calibration as calibration_module
from ssae_tf import config as config_module
from ssae_tf import run_report, workflow
from ssae_tf.config import RunConfig
from ssae_tf.data import per_image
from ssae_tf.data.mvtec import Sample
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, RunError
from ssae_tf.evaluation import run as evaluation_run
from ssae_tf.run_data import run_split
from ssae_tf.runtime import threads
from ssae_tf.scoring.conformal import FalseAlarmRate
from stand_ins import Listener
from untrained import bright, json_of, write_image


def test_evaluate_again_gives_the_same(
    run_folder: Path, tmp_path: Path, shared_network: None
) -> None:
    metrics = workflow.evaluate(run_folder, out=tmp_path, reporter=Listener())
    assert metrics == json_of(run_folder / "metrics.json") == json_of(tmp_path / "metrics.json")
    names = sorted(path.name for path in (tmp_path / "sheets").iterdir())
    assert names == ["crack.png", "good.png", "missing_grain.png", "stain.png"]
    for name in names:
        assert cv2.imread(str(tmp_path / "sheets" / name)).shape[0] > 200


def test_a_sheet_that_fails_costs_no_figures(
    fit: Callable[..., workflow.Fitted], listener: Listener, monkeypatch: pytest.MonkeyPatch
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
    assert fitted.metrics == json_of(fitted.folder / "metrics.json")
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
    assert fitted.metrics == json_of(fitted.folder / "metrics.json")
    assert set(fitted.metrics["kinds"]) == {"crack", "missing_grain", odd}
    assert fitted.metrics["n_without_mask"] == 0
    listed = {name for part in json_of(fitted.folder / "split.json").values() for name in part}
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

    monkeypatch.setattr(run_report, "report_html", full)
    run = fit().folder
    assert listener.warned[-1] == (
        f"Without report.html: {run / 'report.html'}: ValueError: no room"
    )
    assert json_of(run / "metrics.json")["n_test"] == 8
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
        write_image(other / f"{index}.png", np.full((64, 64, 3), 10 * index, np.uint8))
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
    monkeypatch.setattr(threads, "side_by_side", lambda: 3)
    assert workflow.evaluate(run_folder, reporter=Listener()) == json_of(
        run_folder / "metrics.json"
    )
    assert len(seen) == 3
    scores = json_of(run_folder / "calibration.json")["scores"]
    detector = Detector.load(run_folder)
    again = calibration_module.calibrated(
        detector, run_split(run_folder, detector.config)[1].calibrate, Listener()
    )
    assert again.calibration is not None
    assert again.calibration.scores == pytest.approx(scores, rel=1e-5)


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

    monkeypatch.setattr(threads, "side_by_side", lambda: 2)
    samples = [Sample(Path("x"), "good")] * 40
    with Listener().task("", len(samples)) as task:
        left_out = per_image.apply_in_batches(make, list, samples, 1, task, False, keep)
    assert left_out == []
    assert len(most) == 40
    assert max(most) <= 5


def test_figures_by_hand(fit: Callable[..., workflow.Fitted], root: Path) -> None:
    """Good 0.1 and 0.3, defective 0.2 and 0.4; the threshold is 0.25."""
    tile = root / "tile"
    shutil.rmtree(tile / "test")
    shutil.rmtree(tile / "ground_truth")
    write_image(tile / "validation/good/0.png", bright(0.75, 6))
    for name, level in [("good/0", 0.6), ("good/1", 0.8), ("spot/0", 0.7), ("spot/1", 0.9)]:
        write_image(tile / "test" / f"{name}.png", bright(level, 6))
    for number in range(2):
        mask = (bright(1.0, 6)[..., 0] == 255).astype(np.uint8)
        write_image(tile / "ground_truth" / "spot" / f"{number}_mask.png", mask)
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
    split = json_of(folder / "split.json")
    parts = [{Path(name).name.partition("_")[0] for name in names} for names in split.values()]
    assert sorted(map(sorted, parts)) == [["part0"], ["part1"], ["part2"]]
    assert json_of(folder / "config.json")["data"]["group"] == r"^part(\d)"


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
