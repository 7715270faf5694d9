"""Options that commands share: each setting arrives, and where data and runs come from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from ssae_tf import config as config_module
from ssae_tf.cli import (
    benchmark,
    calibrate,
    evaluate,
    fit,
    options,
    predict,
    preview,
    sample_data,
    summary,
)
from ssae_tf.config import RunConfig
from ssae_tf.sample_data import sample

Invoke = Callable[..., Any]
Fits = list[dict[str, Any]]

# Option -> (its value on the command line, the setting it changes, the value that arrives).
SETTINGS: dict[str, tuple[list[str], str, Any]] = {
    "--objective": (["3"], "objective.equation", 3),
    "--seed": (["11"], "training.seed", 11),
    "--group": ([r"^(\d)"], "data.group", r"^(\d)"),
    "--ignore": (["mask.png"], "scoring.ignore", "mask.png"),
    "--border": (["4"], "scoring.border", 4),
    "--white-level": (["4095"], "data.white_level", 4095),
}


@pytest.fixture
def config_of(invoke: Invoke, fits: Fits, sample_root: Path) -> Callable[..., RunConfig]:
    """The settings that `fit --preset quick` gets with some more arguments."""

    def call(*arguments: str) -> RunConfig:
        done = invoke("fit", "--data", sample_root, "--preset", "quick", *arguments)
        assert done.code == 0, done.err
        config = fits[-1]["config"]
        assert isinstance(config, RunConfig)
        return config

    return call


def _value(config: RunConfig, setting: str) -> Any:
    value: Any = config
    for part in setting.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("option", SETTINGS)
def test_a_setting_arrives_and_changes_nothing_else(
    option: str, config_of: Callable[..., RunConfig]
) -> None:
    arguments, setting, value = SETTINGS[option]
    before, after = config_of(), config_of(option, *arguments)
    assert _value(before, setting) != value
    assert _value(after, setting) == value
    assert after == config_module.override(before, {setting: value})


@pytest.mark.parametrize("module", [fit, preview])
def test_every_shared_setting_is_tested_here(module: Any) -> None:
    own = {
        fit: {
            *("--category", "--data", "--out", "--overwrite", "--resume", "--from", "--minutes"),
            "--devices",
        },
        preview: {"--category", "--data", "--out", "--rows"},
    }
    others = {"--preset", "--config", "--steps", "--set", "--quiet", "--verbose"}
    names = {parameter.opts[0] for parameter in module.command.params}
    assert names - {"--verbose"} == own[module] | others - {"--verbose"} | set(SETTINGS)


@pytest.mark.parametrize(
    "module", [benchmark, calibrate, evaluate, fit, predict, preview, sample_data, summary]
)
def test_every_option_is_explained_with_an_example(module: Any) -> None:
    command: click.Command = module.command
    assert command.epilog is not None
    assert command.epilog.startswith(f"Example: ssae-tf {command.name} ")
    with click.Context(command, info_name=command.name) as context:
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name not in ("rows", "seed"):
                record = parameter.get_help_record(context)
                assert record is not None
                assert record[1], parameter.opts


@pytest.mark.parametrize(
    ("assignment", "setting", "value"),
    [
        ("corruption.brightness=0.3", "corruption.brightness", 0.3),
        ("corruption.size=[0.2, 0.4]", "corruption.size", (0.2, 0.4)),
        ("data.rotate=false", "data.rotate", False),
        ("data.skip_unreadable=true", "data.skip_unreadable", True),
        ("data.white_level=1023", "data.white_level", 1023),
        ("min_area=9", "min_area", 9),
        ("objective.weight=null", "objective.weight", None),
        ("scoring.reading=euclidean", "scoring.reading", "euclidean"),
        ('scoring.inspection_size="native"', "scoring.inspection_size", "native"),
        ("scoring.inspection_size=native", "scoring.inspection_size", "native"),
    ],
)
def test_set(
    assignment: str, setting: str, value: Any, config_of: Callable[..., RunConfig]
) -> None:
    assert _value(config_of("--set", assignment), setting) == value


def test_set_more_than_one(config_of: Callable[..., RunConfig]) -> None:
    config = config_of("--set", "training.evaluations=5", "--set", "data.cache=disk", "--seed", "4")
    assert (config.training.evaluations, config.data.cache, config.training.seed) == (5, "disk", 4)


def test_steps_are_shared_among_the_stages(config_of: Callable[..., RunConfig]) -> None:
    stages = (
        '[{"size": 32, "batch_size": 1, "steps": 1}, {"size": 64, "batch_size": 1, "steps": 3}]'
    )
    config = config_of("--steps", "20", "--set", f"training.stages={stages}")
    assert [stage.steps for stage in config.training.stages] == [5, 15]
    assert config_of("--steps", "7").training.steps == 7


def test_preset(invoke: Invoke, fits: Fits, sample_root: Path) -> None:
    for name in ("paper", "quick"):
        told = invoke("fit", "--data", sample_root, "--preset", name).err
        assert [line for line in told if not line.startswith("Next: ")] == []
        assert fits[-1]["config"] == config_module.preset(name, "tile")
    # Without it the machine decides, said aloud.
    done = invoke("fit", "--data", sample_root)
    assert fits[-1]["config"] == config_module.preset("quick", "tile")
    assert done.err[0] == config_module.PRESET_NOTE
    assert "--preset paper" in done.err[0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "nonsense"], 2, "'nonsense' is not NAME=VALUE."),
        (["--set", "a=b"], 1, "Unknown setting `a`. Expected one of: category, preset"),
        (["--set", "=3"], 1, "Unknown setting ``."),
        (["--set", "training=3"], 1, "Unknown setting `training`."),
        (["--set", "min_area.x=3"], 1, "Unknown setting `min_area.x`."),
        (["--set", "category=wood"], 2, "use --category instead."),
        (["--set", "preset=paper"], 2, "use --preset instead."),
        (["--set", "model.width=wide"], 1, "Invalid value for `model.width`"),
        (["--set", "model.width=NaN"], 1, "Invalid value for `model.width`"),
        (["--set", "model.width=0"], 1, "Invalid value for `model.width`"),
        (["--set", "objective.weight=1.5"], 1, "Invalid value for `objective.weight`"),
        (["--seed", "-1"], 1, "Invalid value for `training.seed`"),
        (["--group", "part"], 1, "Invalid value for `data.group`"),
        (["--set", "min_area=0"], 1, "Invalid value for `min_area`"),
        (["--objective", "4"], 2, "'4' is not one of '1', '2', '3'"),
        (["--preset", "fast"], 2, "'fast' is not one of"),
        (["--steps", "0"], 2, "0 is not in the range"),
        (["--minutes", "0"], 2, "0 is not in the range"),
        (["--devices", "0"], 2, 'Expected a number above 0, or "all". Received: 0.'),
        (["--minutes", "3", "--steps", "4"], 2, "--minutes and --steps both set"),
        (["--objektive", "1"], 2, "No such option"),
    ],
)
def test_weird_values_are_refused(
    arguments: list[str], code: int, message: str, invoke: Invoke, fits: Fits, sample_root: Path
) -> None:
    done = invoke("fit", "--data", sample_root, "--preset", "quick", *arguments)
    assert done.code == code
    assert done.out == []
    assert done.error.startswith("Error: ")
    assert message in done.error
    assert len(done.err) == 1 or code == 2
    assert not fits


# Where the data come from.


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Makes the embedded sample data small; gives the categories of each writing."""
    written = []
    write = sample.write_sample_data

    def write_small(root: Path, *, categories: list[str]) -> Path:
        written.append(list(categories))
        return write(root, categories=categories, train=2, test_good=1, per_kind=1, size=32)

    monkeypatch.setattr(sample, "write_sample_data", write_small)
    return written


def test_data_from_the_environment(
    invoke: Invoke, fits: Fits, sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(options.DATA_VARIABLE, str(sample_root))
    done = invoke("fit", "--category", "tile", "--preset", "quick")
    assert fits[-1]["data"] == sample_root
    assert done.err[0] == f"Data: {sample_root} ($SSAE_TF_DATA)."
    # The option comes first.
    done = invoke("fit", "--data", tmp_path)
    assert done.code == 1
    assert done.error.startswith(f"Error: {tmp_path}: expected categories")


def test_the_sample_data_are_the_last_resort(
    invoke: Invoke,
    fits: Fits,
    small_sample: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = invoke("fit", "--category", "weave", "--preset", "quick")
    assert done.code == 0
    (root,) = {call["data"] for call in fits}
    assert root.is_relative_to(tmp_path)
    assert done.err[0] == (f"Data: the embedded sample data (tile, weave), in {root}.")
    assert small_sample == [["tile", "weave"]]
    # What is there is not made again, what is missing is.
    shutil.rmtree(root / "tile")
    for _ in range(2):
        assert invoke("fit", "--category", "tile", "--preset", "quick").code == 0
    assert small_sample == [["tile", "weave"], ["tile"]]
    done = invoke("fit", "--preset", "quick")
    assert (done.code, done.error) == (
        1,
        f"Error: {root}: name one of its categories: tile, weave.",
    )


def test_the_cache_has_a_second_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert options.sample_cache().is_relative_to(tmp_path / ".cache" / "ssae-tf")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(options.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    folder = options.sample_cache()
    assert folder.is_dir()
    assert folder.parent == tmp_path / "temporary"
    monkeypatch.setattr(options.tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    with pytest.raises(options.DataError, match=r"can't be made \(.+\); give --data\.$"):
        options.sample_cache()


# Which run.


@pytest.fixture
def runs(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `runs` with an old and a new finished run and a newer unfinished one."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs"
    for age, name in ((100, "a_new"), (200, "b_old")):
        shutil.copytree(run_folder, folder / name)
        stamp = (folder / name / "calibration.json").stat().st_mtime - age
        os.utime(folder / name / "calibration.json", (stamp, stamp))
    (folder / "c_unfinished").mkdir()
    (folder / "c_unfinished" / "config.json").write_text("{}")
    return folder


def test_the_newest_finished_run_said_aloud(invoke: Invoke, runs: Path) -> None:
    done = invoke("calibrate")
    assert done.code == 0
    assert done.err[0] == "Run: runs/a_new (the newest under runs/)."
    stamp = (runs / "a_new" / "calibration.json").stat().st_mtime + 100
    os.utime(runs / "b_old" / "calibration.json", (stamp, stamp))
    assert invoke("calibrate").err[0] == "Run: runs/b_old (the newest under runs/)."
    # The other command that needs no name, and one that is given.
    assert invoke("evaluate", "--json").err[0] == "Run: runs/b_old (the newest under runs/)."
    assert not invoke("calibrate", "runs/a_new").err[0].startswith("Run: ")


@pytest.mark.parametrize("command", ["calibrate", "evaluate"])
def test_no_run_at_all(
    command: str, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke(command)
    assert (done.code, done.out) == (1, [])
    assert done.err == [
        "Error: No finished run under runs/; name a run folder, or make one with `ssae-tf fit`."
    ]
    done = invoke(command, "nowhere")
    assert (done.code, done.err) == (1, ["Error: nowhere: no such run folder."])
