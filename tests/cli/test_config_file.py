"""`--config FILE`: where it stands between preset and options, and what of it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig, override, preset, to_json

Invoke = Callable[..., Any]
Fits = list[dict[str, Any]]


@pytest.fixture
def config_of(
    invoke: Invoke, fits: Fits, sample_root: Path, tmp_path: Path
) -> Callable[..., RunConfig]:
    """The settings that `fit` gets with a file of some content and some more arguments."""

    def call(content: Any, *arguments: str) -> RunConfig:
        path = tmp_path / "some.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        done = invoke("fit", "--data", sample_root, "--config", path, *arguments)
        assert done.code == 0, done.err
        config = fits[-1]["config"]
        assert isinstance(config, RunConfig)
        return config

    return call


def test_a_part_changes_what_it_names_alone(config_of: Callable[..., RunConfig]) -> None:
    stages = [{"size": 64, "batch_size": 1, "steps": 9}]
    part = {"training": {"stages": stages, "learning_rate": 0.5}, "min_area": 7}
    expected = {"training.stages": stages, "training.learning_rate": 0.5, "min_area": 7}
    assert config_of(part) == override(preset("quick", "tile"), expected)
    assert config_of({}) == preset("quick", "tile")


def test_preset_then_file_then_options_then_set(config_of: Callable[..., RunConfig]) -> None:
    part = {"training": {"seed": 1, "evaluations": 4}, "objective": {"equation": 2}}
    config = config_of(part, "--preset", "paper")
    assert config == override(
        preset("paper", "tile"),
        {"training.seed": 1, "training.evaluations": 4, "objective.equation": 2},
    )
    config = config_of(part, "--seed", "2", "--objective", "3", "--set", "training.evaluations=6")
    assert (config.training.seed, config.training.evaluations) == (2, 6)
    assert config.objective.equation == 3
    config = config_of(part, "--seed", "2", "--set", "training.seed=3", "--steps", "7")
    assert (config.training.seed, config.training.steps) == (3, 7)


def test_the_config_of_a_run_as_it_is(
    config_of: Callable[..., RunConfig], invoke: Invoke, fits: Fits, sample_root: Path
) -> None:
    own = override(preset("paper", "tile"), {"training.seed": 4, "data.rotate": False})
    assert config_of(to_json(own)) == own
    # Its own category is trained, and its preset needs no note.
    assert fits[-1]["category"] == "tile"
    # Another category keeps the file's augmentations, and an older run's settings are no matter.
    older = json.loads(to_json(own))
    older["scoring"]["margin"] = 32
    older["category"] = "screw"
    config = config_of(older, "--category", "tile", "--preset", "best")
    assert config == override(own, {"preset": "best"})


def test_the_files_preset_is_the_one_to_start_from(
    invoke: Invoke, fits: Fits, sample_root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "some.json"
    path.write_text('{"preset": "paper", "training": {"seed": 6}}')
    done = invoke("fit", "--data", sample_root, "--config", path)
    assert config_module.PRESET_NOTE not in done.err
    assert fits[-1]["config"] == override(preset("paper", "tile"), {"training.seed": 6})
    path.write_text('{"training": {"seed": 6}}')
    done = invoke("fit", "--data", sample_root, "--config", path)
    assert config_module.PRESET_NOTE in done.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read (No such file or directory)."),
        (b"{", "is not JSON ("),
        (b"\xff", "is not JSON ("),
        (b"[" * 100_000, "is not JSON ("),
        (b"[1]", "Expected settings by name. Received: [1]."),
        (b'{"seed": 1}', "Unknown setting `seed`."),
        (b'{"training": {"lr": 1}}', "Unknown setting `training.lr`."),
        (b'{"training": 3}', "Invalid value for `training`: "),
        (b'{"training": {"seed": "two"}}', "Invalid value for `training.seed`: "),
        (b'{"model": {"width": NaN}}', "Invalid value for `model.width`: "),
        (b'{"category": 3}', "Invalid value for `category`: "),
        (b'{"preset": "fast"}', "Unknown preset 'fast'. Expected one of: quick, best, paper."),
        (b'{"data": {"sampling": "crop"}}', "`data.sampling` 'crop' is of an older version: "),
        (b'{"model": {"answer": "plain"}}', "Invalid value for `model`: context needs"),
    ],
)
def test_what_is_refused_names_the_file(
    content: bytes | None,
    message: str,
    invoke: Invoke,
    fits: Fits,
    sample_root: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / "some.json"
    if content is not None:
        path.write_bytes(content)
    done = invoke("fit", "--data", sample_root, "--quiet", "--config", path)
    assert done.code == 1
    (line,) = done.err
    assert line.startswith(f"Error: {path}: {message}")
    assert not fits
