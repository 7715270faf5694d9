"""An export is of the run as it was when it began, whatever becomes of the folder meanwhile."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crash.quick import network
from ssae_tf import detector as detector_module
from ssae_tf.config import from_dict
from ssae_tf.detector import Calibration, Detector
from ssae_tf.export import build
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import export
from ssae_tf.export.formats import FORMATS
from ssae_tf.export.make import Made, Maker, Request
from ssae_tf.export.manifest import file_hash
from ssae_tf.export.parity import Parity
from ssae_tf.files import write_json
from ssae_tf.run_folder import read_whole
from stand_ins import Listener

FILES = ("config.json", "weights.npz", "calibration.json")


def save(run: Path, seed: int, threshold: float) -> Detector:
    """A network of one number, which is the seed."""
    config = from_dict({"category": "tile", "training": {"seed": seed}})
    detector = Detector(network(config), config, Calibration(threshold, 9, ()))
    detector.save(run)
    return detector


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(detector_module, "load_network", network)
    save(tmp_path / "run", 0, 0.25)
    return tmp_path / "run"


def test_what_is_exported_is_what_was_read(
    run: Path, validation: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = file_hash(run / name for name in FILES)
    make = Maker.make

    def replaced(maker: Maker, out: Path, place: Path) -> Made:
        save(run, 1, 0.75)
        return make(maker, out, place)

    monkeypatch.setattr(Maker, "make", replaced)
    made = export(run, Request("savedmodel"), validation, out=tmp_path / "x", reporter=Listener())
    assert Detector.load(run).calibration == Calibration(0.75, 9, ())
    metadata = json.loads((made.folder / "metadata.json").read_text())
    assert (metadata["threshold"], metadata["run_hash"]) == (0.25, expected)
    assert made.parity.passed
    # |F(X) − X| of the network that was read, which is |X|.
    result = Artefact.load(made.folder).predict(validation[0])
    assert abs(result.anomaly_map.mean() - result.image.mean()) < 0.01


def test_a_calibration_that_is_put_into_its_place_is_taken(run: Path) -> None:
    new = json.loads((run / "calibration.json").read_text()) | {"threshold": 0.5}
    write_json(run / "recalibrated" / "calibration.json", new)
    detector, run_hash, _ = read_whole(run, lambda: build._read(run, [], None, Listener()))
    assert detector.calibration == Calibration(0.5, 9, ())
    paths = [run / name for name in FILES[:2]] + [run / "recalibrated" / "calibration.json"]
    assert run_hash == file_hash(paths)


def test_the_images_are_those_kept_for_calibration(
    run_folder: Path, trained: Detector, sample_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Detector, "load", lambda _: trained)
    split = json.loads((run_folder / "split.json").read_text())
    _, _, images = build._read(run_folder, None, None, Listener())
    root = sample_root / "tile"
    assert [path.relative_to(root).as_posix() for path in images] == split["calibrate"]
    _, _, others = build._read(run_folder, None, root / "train" / "good", Listener())
    assert len(others) == 12


def test_a_comparison_apart_has_the_detector_that_was_read(
    run: Path, validation: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.load(run)
    maker = Maker(
        detector, Request("trt"), FORMATS["trt"], "fp32", validation, tmp_path, Listener()
    )
    save(run, 1, 0.75)
    seen: list[Callable[[], Any]] = []

    def call(_: Maker, function: str, **arguments: Any) -> dict[str, Any]:
        assert function == "build:compare_apart"
        seen.append(Detector.load(arguments["run"]).calibration)
        return dataclasses.asdict(Parity(1.0, passed=True))

    monkeypatch.setattr(Maker, "call", call)
    metadata = {"format": "trt", "runtime": "tensorrt", "threshold": 0.25}
    assert build._compare(maker, tmp_path / "artefact", metadata).passed
    assert seen == [Calibration(0.25, 9, ())]
