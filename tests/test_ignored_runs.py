"""A run keeps what it ignores: through interruptions, and whatever becomes of the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ssae_tf import workflow
from ssae_tf.config import RunConfig, from_dict
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.images import write_png
from ssae_tf.detector import Detector
from ssae_tf.progress import Reporter
from ssae_tf.training.loop import TrainingInterrupted
from stand_ins import Listener, grey_network, put_grey_network


class Stub:
    """Stands for the trainer; the first training is interrupted if that is asked for."""

    stops = False
    ignored: list[np.ndarray | None]

    def __init__(
        self,
        train: ImageCache,
        select: ImageCache,
        config: RunConfig,
        reporter: Reporter,
        *_: object,
    ) -> None:
        Stub.ignored = [one.ignored and one.ignored.mask for one in (train, select)]
        self.config = config

    def fit_to_time(self, seconds: float | None) -> tuple[RunConfig, float]:
        return self.config, seconds or 0.0

    def train(self, folder: Path, *, resume: bool = False) -> object:
        if Stub.stops and not resume:
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "state.npz").write_bytes(b"")
            raise TrainingInterrupted(1, 2, "run", 15)
        return grey_network()


@pytest.fixture
def mask() -> np.ndarray:
    """Ignores the left half."""
    found = np.zeros((20, 20), np.bool_)
    found[:, :10] = True
    return found


@pytest.fixture
def arguments(
    mask: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """Of `fit`: grey images, and test images with a white square on either side."""
    put_grey_network(monkeypatch, Stub)
    Stub.stops = False
    for name in ("train/good", "test/good", "test/left", "test/right", "test/both"):
        (tmp_path / "data" / "part" / name).mkdir(parents=True)
    for number in range(24):
        write_image(tmp_path, f"train/good/{number:02}")
    write_image(tmp_path, "test/good/0")
    for kind, columns in (("left", [8]), ("right", [48]), ("both", [8, 48])):
        write_image(tmp_path, f"test/{kind}/0", *columns)
        truth = np.zeros((64, 64), np.bool_)
        for column in columns:
            truth[20:30, column : column + 10] = True
        place = tmp_path / "data" / "part" / "ground_truth" / kind
        place.mkdir(parents=True)
        write_png(place / "0_mask.png", truth)
    write_png(tmp_path / "mask.png", mask)
    monkeypatch.chdir(tmp_path)
    scoring = {"smoothing_sigma": 0.0, "ignore": "mask.png", "inspection_size": "native"}
    stages = [{"size": 16, "batch_size": 1, "steps": 2}]
    config = from_dict({"scoring": scoring, "min_area": 4, "training": {"stages": stages}})
    return {"data": "data", "out": "run", "config": config, "reporter": Listener()}


def write_image(folder: Path, name: str, *columns: int) -> None:
    image = np.full((64, 64, 3), 128, np.uint8)
    # Not all alike.
    image[0, 60] = sum(map(ord, name)) % 256
    for column in columns:
        image[20:30, column : column + 10] = 255
    write_png(folder / "data" / "part" / f"{name}.png", image)


def test_figures_are_of_what_counts(arguments: dict[str, object]) -> None:
    metrics = workflow.fit(**arguments).metrics
    listener = arguments["reporter"]
    assert isinstance(listener, Listener)
    assert listener.warned == [
        "Of 1 defective test images all of the defect is ignored (test/left/0.png first): passed, "
        "they count as missed."
    ]
    rejected = {
        line.split(",")[0].split("/")[1]: line
        for line in Path("run/verdicts.csv").read_text().splitlines()[1:]
    }
    assert metrics["kinds"]["left"]["tpr"] == 0.0
    assert metrics["kinds"]["right"]["tpr"] == metrics["kinds"]["both"]["tpr"] == 1.0
    assert set(rejected) == {"good", "left", "right", "both"}
    # The left one has no defective pixel, and of both the right one is found whole.
    assert metrics["kinds"]["left"]["f1_pixel"] is None
    for kind in ("right", "both"):
        assert metrics["kinds"][kind]["f1_pixel"] == pytest.approx(1.0)
        assert metrics["kinds"][kind]["aupro"] == pytest.approx(1.0, abs=1e-3)


def test_a_training_goes_on_with_its_own(
    arguments: dict[str, object], mask: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Stub.stops = True
    with pytest.raises(TrainingInterrupted):
        workflow.fit(**arguments)
    for one in Stub.ignored:
        np.testing.assert_array_equal(one, mask)
    write_png(tmp_path / "mask.png", ~mask)
    monkeypatch.chdir("/")
    listener = Listener()
    folder = workflow.resume(tmp_path / "run", reporter=listener).folder
    assert "50.0 % of each image is ignored." in listener.said
    for one in (*Stub.ignored, Detector.load(folder).ignore_mask):
        np.testing.assert_array_equal(one, mask)


def test_a_relative_file_is_found_from_elsewhere(
    arguments: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that had not kept it yet when its process died."""
    Stub.stops = True
    with pytest.raises(TrainingInterrupted):
        workflow.fit(**arguments)
    shutil.rmtree("run/checkpoints")
    for name in ("ignore.png", "config.json", "split.json", "environment.json"):
        Path("run", name).unlink()
    Stub.stops = False
    monkeypatch.chdir("/")
    folder = workflow.resume(tmp_path / "run", reporter=Listener()).folder
    assert (folder / "ignore.png").is_file()
    config = json.loads((folder / "config.json").read_text())
    assert config["scoring"]["ignore"] == str(tmp_path / "mask.png")


def test_overwriting_takes_the_mask_away(arguments: dict[str, object]) -> None:
    workflow.fit(**arguments)
    assert Path("run/ignore.png").is_file()
    plain = from_dict({"scoring": {"smoothing_sigma": 0.0}, "min_area": 4})
    metrics = workflow.fit(**{**arguments, "config": plain, "overwrite": True}).metrics
    assert not Path("run/ignore.png").exists()
    assert metrics["kinds"]["left"]["tpr"] == 1.0
