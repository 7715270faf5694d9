"""The parts of a prediction's time: of a run and of an artefact, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from ssae_tf.cli.main import run
from ssae_tf.config import RunConfig, override
from ssae_tf.detector import Calibration, Detector
from ssae_tf.errors import DataError
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import Exported
from ssae_tf.export.latency import latency_table, measure
from ssae_tf.progress import Reporter

QUIET = Reporter(quiet=True)


def test_parts_of_a_detector(trained: Detector) -> None:
    found = measure(trained, (40, 56), 5, QUIET)
    assert list(found["seconds"]) == ["decode", "network", "scoring", "post-processing", "predict"]
    for values in found["seconds"].values():
        assert 0.0 < values["p50"] <= values["p95"] <= values["p99"] < 60.0
    assert (found["size"], found["rounds"]) == ([40, 56], 5)
    assert found["machine"]["cpus"] >= 1


def test_resized(trained: Detector) -> None:
    config = override(trained.config, {"scoring.inspection_size": [64, 48]})
    detector = Detector(trained.model, config, trained.calibration)
    assert len(measure(detector, (40, 40), 1, QUIET)["seconds"]) == 5


def test_the_networks_time_is_that_of_all_views(
    grey: tf.keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"scoring.test_time_augmentation": True, "scoring.inspection_size": [32, 32]}
    detector = Detector(grey, override(RunConfig(), changes), Calibration(0.1, 1, (0.1,)))
    batches = set()

    def network(x: tf.Tensor) -> tf.Tensor:
        batches.add(len(x))
        return x

    monkeypatch.setattr(detector, "network", network)
    measure(detector, (40, 56), 1, QUIET)
    assert batches == {4}


def test_parts_of_an_artefact(make: Callable[..., Exported]) -> None:
    found = measure(Artefact.load(make("tflite").folder), (40, 40), 2, QUIET)
    parts = ["decode", "network and scoring", "post-processing", "predict"]
    assert list(found["seconds"]) == parts


def test_images_that_are_too_small(trained: Detector) -> None:
    with pytest.raises(DataError, match=r"at least 32×32 pixels\. Received: 31×64"):
        measure(trained, (31, 64), 1, QUIET)


def test_table_by_hand() -> None:
    found = {
        "size": [64, 32],
        "rounds": 7,
        "machine": {"processor": "A processor", "usable_cpus": 3, "tensorflow": "2.0"},
        "seconds": {
            "decode": {"p50": 0.001, "p95": 0.00234, "p99": 0.1},
            "predict": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
        },
    }
    table = latency_table(found)
    columns = [list(column.cells) for column in table.columns]
    assert [column.header for column in table.columns] == ["64×32, ms", "p50", "p95", "p99"]
    assert columns == [
        ["decode", "predict"],
        ["1.0", "1000.0"],
        ["2.3", "2000.0"],
        ["100.0", "3000.0"],
    ]
    assert table.caption == "7 rounds, A processor, 3 cores, TensorFlow 2.0"


def test_the_command(run_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["latency", str(run_folder), "--size", "32x48", "--rounds", "1", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["size"] == [32, 48]
    assert run(["latency", str(run_folder), "--size", "32", "--rounds", "1"]) == 0
    out, err = capfd.readouterr()
    assert "post-processing" in out
    assert "1 round, " in out
    assert "on one image of 32×32: 1 round after 2 that don't count." in err
    assert "32×32, ms" in out
    assert run(["latency", str(run_folder), "--size", "32 48"]) == 2
    assert "Expected 512 or 480x640. Received: 32 48." in capfd.readouterr().err
    assert run(["latency", str(run_folder / "missing")]) == 1
    assert "missing" in capfd.readouterr().err
