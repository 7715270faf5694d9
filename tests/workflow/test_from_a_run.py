"""Going on from a finished run with new good images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssae_tf import config as config_module
from ssae_tf import workflow
from ssae_tf.cli.main import run
from ssae_tf.config import RunConfig, from_dict, override
from ssae_tf.errors import ConfigError, DataError, RunError
from ssae_tf.models.weights import load_arrays
from ssae_tf.sample_data.sample import draw_sample
from ssae_tf.warm_start import check_network, settings_of
from stand_ins import Listener
from untrained import Stub, json_of, write_image

STAGE = {"size": 16, "batch_size": 2, "steps": 1}


@pytest.fixture
def new_images(tmp_path: Path) -> Path:
    """Ten good images that no run has seen, in a plain folder."""
    for k in range(10):
        image = draw_sample("tile", "train", "good", 500 + k, size=64).image
        write_image(tmp_path / "lot2" / f"{k:03}.png", image)
    return tmp_path / "lot2"


@pytest.fixture
def other(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the shared run."""
    return shutil.copytree(run_folder, tmp_path / "old")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_step(config: RunConfig, rate: float) -> RunConfig:
    return override(config, {"training.stages": [STAGE], "training.learning_rate": rate})


def test_training_starts_from_the_weights_of_the_run(
    other: Path, new_images: Path, tmp_path: Path
) -> None:
    before = content(other)
    config = one_step(settings_of(other), 1e-9)
    fitted = workflow.fit(new_images, out=tmp_path / "new", config=config, reporter=Listener())
    assert content(other) == before
    weights, old = (load_arrays(one / "weights.npz") for one in (fitted.folder, other))
    assert weights.keys() == old.keys()
    for name in weights:
        if not name.endswith(("mean", "variance")):
            np.testing.assert_allclose(weights[name], old[name], atol=1e-8, err_msg=name)

    recorded = json_of(fitted.folder / "config.json")
    assert recorded["weights_from"] == str(other)
    assert recorded["category"] == "lot2"
    was = json_of(other / "config.json")
    assert recorded["scoring"] == was["scoring"]
    # Calibrated anew, on images that are the new ones' own.
    split = json_of(fitted.folder / "split.json")
    assert fitted.detector.calibration is not None
    assert set(fitted.detector.calibration.names) == set(split["calibrate"])
    assert f"from the weights of {other} |" in (fitted.folder / "card.md").read_text("utf-8")


def test_options_change_what_may_change(
    other: Path, new_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def fit(data: Path, category: str | None, **arguments: Any) -> workflow.Fitted:
        asked.update(arguments)
        return workflow.Fitted(tmp_path, None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(workflow, "fit", fit)
    arguments = ["fit", "--from", str(other), "--data", str(new_images), "--seed", "5"]
    assert run([*arguments, "--set", "training.learning_rate=0.25"]) == 0
    changes = {"training.seed": 5, "training.learning_rate": 0.25}
    assert asked["config"] == override(settings_of(other), changes)


def test_a_preset_beside_a_run_is_refused(
    other: Path, new_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fit", "--from", str(other), "--data", str(new_images), "--preset", "best"]) == 2
    assert "--from takes the settings of the run; leave out --preset." in capsys.readouterr().err
    assert run(["fit", "--from", str(other), "--resume", str(other)]) == 2
    assert "--resume takes all settings from the run; leave out --from." in capsys.readouterr().err


def test_another_network_is_refused(other: Path, new_images: Path, tmp_path: Path) -> None:
    config = override(settings_of(other), {"model.width": 0.125})
    with pytest.raises(
        ConfigError, match=r"^`model\.width` can't .*old\. Expected 0\.0625, .* Received: 0\.125\.$"
    ):
        workflow.fit(new_images, out=tmp_path / "new", config=config, reporter=Listener())
    assert not (tmp_path / "new").exists()


def test_the_run_itself_and_one_that_is_not_finished_are_refused(
    other: Path, new_images: Path, tmp_path: Path
) -> None:
    before = content(other)
    with pytest.raises(RunError, match=r"old: is the run to start from; --out chooses another"):
        workflow.fit(new_images, out=other, weights_from=other, overwrite=True, reporter=Listener())
    assert content(other) == before
    (other / "calibration.json").unlink()
    with pytest.raises(
        RunError, match=r"old: has no calibration\.json, so this is no finished run"
    ):
        workflow.fit(new_images, out=tmp_path / "new", weights_from=other, reporter=Listener())


def test_grey_images_do_not_follow_coloured_ones(
    other: Path, new_images: Path, tmp_path: Path
) -> None:
    for path in new_images.iterdir():
        write_image(path, np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    with pytest.raises(
        DataError, match=r"lot2: images with 1 channel of colour; expected 3 channels, as .*old was"
    ):
        workflow.fit(new_images, out=tmp_path / "new", weights_from=other, reporter=Listener())
    assert not (tmp_path / "new").exists()


def test_an_interrupted_one_goes_on_without_the_run_it_came_from(
    fit: Callable[..., workflow.Fitted], config: RunConfig, tmp_path: Path
) -> None:
    first = fit(out=tmp_path / "first").folder
    second = fit(out=tmp_path / "second", weights_from=first).folder
    assert Stub.last.start == first / "weights.npz"
    for name in ("calibration.json", "metrics.json", "weights.npz"):
        (second / name).unlink()
    (second / "checkpoints").mkdir()
    (second / "checkpoints" / "state.npz").write_bytes(b"")
    shutil.rmtree(first)
    workflow.resume(second, reporter=Listener())
    assert Stub.last.resumed
    assert Stub.last.start is None


def test_the_gate_normalises_as_in_the_run_however_few_the_new_images(tmp_path: Path) -> None:
    values = {"model": {"answer": "gated"}, "scoring": {"evidence": "gate"}}
    config = from_dict({**values, "training": {"stages": [{**STAGE, "size": 32}]}})
    (tmp_path / "config.json").write_text(config_module.to_json(config))
    for name in ("weights.npz", "calibration.json"):
        (tmp_path / name).touch()
    start = settings_of(tmp_path)
    assert config_module.for_few(config, 4).model != config.model
    assert config_module.for_few(start, 4).model == config.model
    check_network(start)


def test_the_mask_of_what_is_ignored_is_that_of_the_run(tmp_path: Path) -> None:
    config = from_dict({"scoring": {"ignore": "/gone/mask.png"}, "training": {"stages": [STAGE]}})
    (tmp_path / "config.json").write_text(config_module.to_json(config))
    for name in ("weights.npz", "calibration.json"):
        (tmp_path / name).touch()
    assert settings_of(tmp_path).scoring.ignore == str(tmp_path / "ignore.png")
