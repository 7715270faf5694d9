"""The ablation: which rows there are, that the rest is fitted anew, what is measured."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf import ablation
from ssae_tf import config as config_module
from ssae_tf.ablation import FIGURES, ROWS, Row, Source, ablate, identity, rows_for, untrained
from ssae_tf.cli.main import run
from ssae_tf.config import RunConfig
from ssae_tf.data.cache import resize
from ssae_tf.data.images import read_image
from ssae_tf.data.mvtec import load_category
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError
from ssae_tf.evaluation.run import measure_test_set
from ssae_tf.models.autoencoder import autoencoder
from stand_ins import Listener

ALWAYS = ["as_shipped", "network", "paper_map", "identity", "untrained"]
BY_NAME = {row.name: row for row in ROWS}
PLAIN = RunConfig()
QUICK = config_module.resolve(config_module.preset("quick", "tile"), 1024)


@pytest.fixture(scope="module")
def ablated(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What the command makes of the shared run: its folder, and what it prints."""
    out, printed = tmp_path_factory.mktemp("ablated"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        arguments = ["evaluate", str(run_folder), "--ablation", "--json", "--quiet"]
        assert run([*arguments, "--out", str(out)]) == 0
    return out, printed.getvalue()


@pytest.fixture
def rows(ablated: tuple[Path, str]) -> dict[str, dict[str, Any]]:
    """All rows of the shared run."""
    return dict(json.loads(ablated[1])["ablation"])


@pytest.fixture
def source(run_folder: Path, shared_network: None) -> Source:
    """The shared run."""
    return Source(run_folder, Listener())


def _names(config: RunConfig) -> list[str]:
    return [row.name for row in rows_for(config)]


# The table.


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(ROWS)


def test_the_named_rows_are_always_there() -> None:
    assert [row.name for row in ROWS if row.always] == ALWAYS
    # The paper's settings but for the smoothing.
    assert _names(PLAIN) == [*ALWAYS, "no_smoothing", "no_min_area"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_changes_settings_that_leave_the_weights_alone(row: Row) -> None:
    changed = row.config(QUICK)
    kept = dataclasses.replace(changed, scoring=QUICK.scoring, min_area=QUICK.min_area)
    assert kept == QUICK
    assert row.sentence
    assert row.sentence[-1] != "."


def test_every_row_leaves_something_out_of_the_quick_preset_or_is_not_there() -> None:
    assert _names(QUICK) == [
        *ALWAYS,
        "no_outline",
        "no_test_time_augmentation",
        "no_smoothing",
        "no_min_area",
    ]
    kept = [row for row in rows_for(QUICK) if row.name != "network"]
    assert len({(row.config(QUICK), row.network) for row in kept}) == len(kept)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("no_outline", "scoring.outline", None),
        ("no_test_time_augmentation", "scoring.test_time_augmentation", False),
        ("no_smoothing", "scoring.smoothing_sigma", 0.0),
        ("no_min_area", "min_area", 1),
    ],
)
def test_what_a_run_has_not_can_not_be_left_out(name: str, setting: str, value: Any) -> None:
    assert name in _names(QUICK)
    assert name not in _names(config_module.override(QUICK, {setting: value}))


def test_the_paper_map_has_no_part_beyond_the_paper() -> None:
    plain = BY_NAME["paper_map"].config(QUICK).scoring
    smoothing = QUICK.scoring.smoothing_sigma
    # The defaults are the paper's.
    assert plain == dataclasses.replace(PLAIN.scoring, smoothing_sigma=smoothing)


# The replacements.


def test_nothing_is_left_of_the_identity(source: Source, rng: np.random.Generator) -> None:
    model = identity(source, source.detector.config)
    image = rng.random((50, 70, 3)).astype(np.float32)
    assert not Detector(model, PLAIN).inspect(image)[1].any()


def test_the_identity_of_a_gated_network_repaints_nothing(
    source: Source, rng: np.random.Generator
) -> None:
    image = rng.random((50, 70, 3)).astype(np.float32)
    detector = Detector(identity(source, QUICK), QUICK)
    reconstruction, map_ = detector.inspect(image)
    assert not map_.any()
    resized = detector.as_inspected(image)
    np.testing.assert_allclose(reconstruction, resize(resized, 50, 70), atol=1e-6)


def test_the_identity_tells_nothing_apart_by_the_papers_map(source: Source) -> None:
    config = BY_NAME["paper_map"].config(source.detector.config)
    detector = source.build(config, identity)
    found = load_category(source.split.root.parent, "tile")
    metrics, _ = measure_test_set(detector, found, Listener())
    assert metrics["image_auroc"] == metrics["pixel_auroc"] == 0.5
    assert (metrics["tpr"], metrics["tnr"]) == (0.0, 1.0)


def test_untrained_are_the_weights_that_training_starts_from(source: Source) -> None:
    config = source.detector.config
    model = untrained(source, config)
    expected = autoencoder(config.model, training_size=16, seed=config.training.seed)
    for layer in expected.layers:
        if isinstance(layer, tf.keras.layers.Conv2D) and layer.name != "reconstruction":
            np.testing.assert_array_equal(model.get_layer(layer.name).kernel, layer.kernel)
    # The mean colour of the training images is what it begins with.
    train = [read_image(sample.path) for sample in source.split.train]
    answer = model(np.mean(train, axis=(1, 2))[:1, None, None].repeat(16, 1).repeat(16, 2))
    assert np.abs(np.mean(answer, axis=(0, 1, 2)) - np.mean(train, axis=(0, 1, 2))).max() < 0.1


def test_a_detector_built_anew_is_the_one_that_fit_made(source: Source) -> None:
    again = source.build(source.detector.config)
    first = source.detector
    assert again.calibration is not None
    assert first.calibration is not None
    assert again.calibration.scores == pytest.approx(first.calibration.scores, rel=1e-4)
    assert again.calibration.min_area == first.calibration.min_area
    # With the same network, which is neither folded nor traced again.
    assert (again.folded, again.network) == (first.folded, first.network)


# The rows of a run.


def test_the_command_prints_what_it_writes(ablated: tuple[Path, str]) -> None:
    out, printed = ablated
    assert [path.name for path in out.iterdir()] == ["ablation.json"]
    assert json.loads(printed) == json.loads((out / "ablation.json").read_text())
    assert list(json.loads(printed)) == ["ablation"]


def test_a_run_has_the_named_rows_and_those_of_its_parts(rows: dict[str, Any]) -> None:
    further = ["no_smoothing", "no_min_area"]
    assert list(rows) == [*ALWAYS, *further]
    for figures in rows.values():
        assert tuple(figures) == FIGURES
        assert all(0.0 <= figures[key] <= 1.0 for key in FIGURES if key != "threshold")


def test_as_shipped_has_the_figures_of_the_run(rows: dict[str, Any], run_folder: Path) -> None:
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert rows["as_shipped"] == pytest.approx({key: metrics[key] for key in FIGURES}, abs=1e-6)


def test_every_other_row_has_a_threshold_of_its_own(rows: dict[str, Any]) -> None:
    # The network's evidence is all there is, and of Table 1 alone it is the paper's map.
    assert rows["network"] == rows["paper_map"] == rows["as_shipped"]
    others = [row for name, row in rows.items() if name not in ("network", "paper_map")]
    assert len({row["threshold"] for row in others}) == len(others)
    # The highest score of calibration images, in grey levels.
    assert 0.0 < rows["paper_map"]["threshold"] < 1.0


def test_rows_that_do_not_differ_are_measured_once(
    run_folder: Path, shared_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measure(detector: Detector, *_: object) -> tuple[dict[str, Any], list[Any]]:
        measured.append(detector)
        return dict.fromkeys(FIGURES, 0.5), []

    monkeypatch.setattr(ablation, "measure_test_set", measure)
    chosen = (BY_NAME["as_shipped"], BY_NAME["network"])
    listener = Listener()
    assert list(ablate(run_folder, rows=chosen, reporter=listener)) == ["as_shipped", "network"]
    assert len(measured) == 1
    assert listener.said == ["as_shipped: the detector of the run folder."]


def test_repeated_tracing_is_not_told_and_all_else_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("tensorflow")
    # Once, whether TensorFlow passes its messages on or not.
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    with ablation._retracing_not_told():
        logger.warning("5 out of the last %d calls triggered tf.function retracing", 9)
        logger.warning("something else")
    logger.warning("6 calls triggered tf.function retracing")
    assert [record.getMessage().split()[0] for record in caplog.records] == ["something", "6"]


def test_other_data_are_measured_with_the_runs_own_images(
    run_folder: Path, sample_root: Path, shared_network: None, rows: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match="has no test images"):
        ablate(run_folder, data=sample_root / "tile/train/good", reporter=Listener())
    chosen = (BY_NAME["as_shipped"],)
    arguments: dict[str, Any] = {"data": sample_root, "category": "tile", "rows": chosen}
    found = ablate(run_folder, reporter=Listener(), **arguments)
    assert found["as_shipped"] == pytest.approx(rows["as_shipped"], rel=1e-6)
