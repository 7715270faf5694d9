"""Options and helpers that several commands share."""

from __future__ import annotations

import codecs
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssae_tf.errors import ConfigError, DataError, RunError, printable

if TYPE_CHECKING:
    from rich.table import Table

    from ssae_tf.config import RunConfig
    from ssae_tf.progress import Reporter

DATA_VARIABLE = "SSAE_TF_DATA"

_FILE_WIDTH = 200
# Of a narrow terminal: it breaks such lines, where Rich would cut figures off.
_MIN_WIDTH = 80

PATH = click.Path(path_type=Path)
quiet = click.option("--quiet", is_flag=True, help="No progress, only warnings and results.")
category = click.option("--category", help="Category under the data root.")
data = click.option(
    "--data",
    type=PATH,
    help=f"Root in MVTec AD layout, or a folder of good images. [default: ${DATA_VARIABLE}, "
    "then the embedded sample data]",
)


class NewFile(click.Path):
    """A file to write, known by its ending: a file that is to be read can't follow by mistake."""

    def __init__(self, suffix: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.suffix = suffix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.suffix.lower() != self.suffix:
            self.fail(f"Expected a name ending in {self.suffix}. Received: {path}.", param, ctx)
        return path


def reporter(quiet: bool) -> Reporter:
    """Where a command's progress goes: stderr, unless `quiet`."""
    from ssae_tf.progress import Reporter

    return Reporter(quiet=quiet)


def resolve_data(data: Path | None, report: Reporter) -> Path:
    """The data root: the option, else the environment variable, else the sample data, said aloud.

    Raises:
        DataError: the sample data can't be written.
    """
    if data is not None:
        return data
    if os.environ.get(DATA_VARIABLE):
        root = Path(os.environ[DATA_VARIABLE])
        report.say(f"Data: {root} (${DATA_VARIABLE}).")
        return root
    from ssae_tf.sample_data.sample import CATEGORIES, write_sample_data

    root = sample_cache()
    missing = [name for name in CATEGORIES if not (root / name).is_dir()]
    report.say(f"Data: the embedded sample data ({', '.join(CATEGORIES)}), in {root}.")
    if missing:
        write_sample_data(root, categories=missing)
    return root


def sample_cache() -> Path:
    """Where the embedded sample data is kept once it was made."""
    try:
        cache = os.environ.get("XDG_CACHE_HOME")
        base = Path(cache) if cache else Path.home() / ".cache"
        folder = base / "ssae-tf" / "sample-data-1"
        folder.mkdir(parents=True, exist_ok=True)
    # RuntimeError: there is no home.
    except (OSError, RuntimeError):
        folder = Path(tempfile.gettempdir()) / "ssae-tf-sample-data-1"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: can't be made ({error.strerror}); give --data.") from None
    return folder


def resolve_run(run: Path | None, report: Reporter) -> Path:
    """The run folder: the argument, else the newest finished one under `runs/`, said aloud.

    Raises:
        RunError: there is none.
    """
    if run is not None:
        return run
    # Not what is being made to replace a run, which is hidden.
    finished = list(Path("runs").glob("[!.]*/calibration.json"))
    if not finished:
        raise RunError(
            "No finished run under runs/; name a run folder, or make one with `ssae-tf fit`."
        )
    newest = max(finished, key=lambda path: path.stat().st_mtime).parent
    report.say(f"Run: {newest} (the newest under runs/).")
    return newest


def print_metrics(metrics: dict[str, Any]) -> None:
    """The table of metrics.json, and what the network repairs, on stdout."""
    from ssae_tf.evaluation.levels import levels_line
    from ssae_tf.evaluation.tables import metrics_table, projection_line

    print_table(metrics_table(metrics))
    if "levels" in metrics:
        click.echo(levels_line(metrics["levels"]))
    click.echo(projection_line(metrics["projection"]))


def print_json(value: Any, indent: int | None = None) -> None:
    """JSON on stdout, to be read as UTF-8: escaped where stdout has another encoding.

    Undecodable bytes of a file's name are surrogates in Python, and escaped everywhere.
    """
    # While a bar is shown on the same terminal, Rich stands before stdout, without an encoding.
    stdout = getattr(sys.stdout, "rich_proxied_file", sys.stdout)
    is_utf8 = codecs.lookup(stdout.encoding).name == "utf-8"
    text = json.dumps(value, indent=indent, ensure_ascii=not is_utf8, allow_nan=False)
    click.echo(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def print_path(path: Path) -> None:
    """A file or folder that was made, as a line on stdout."""
    click.echo(printable(str(path)))


def print_table(table: Table) -> None:
    """A table on stdout, never narrower than its words."""
    from rich.console import Console

    console = Console(highlight=False)
    # Rich takes 80 columns for a file or a pipe, and would break the names of kinds.
    console.width = max(console.width, _MIN_WIDTH) if console.is_terminal else _FILE_WIDTH
    console.print(table)


# Option -> (setting it changes, click arguments). None of them has a default of its own: what is
# not given stays as the preset has it. For all other settings there are --set and --config.
_SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "--objective": (
        "objective.equation",
        {"type": click.Choice(["1", "2", "3"]), "help": "Equation of the paper."},
    ),
    "--seed": ("training.seed", {"type": int, "help": "Of everything random."}),
    "--group": (
        "data.group",
        {
            "metavar": "REGEX",
            "help": "Its capture group names the part in a file name: parts are never split. Or a "
            "file, NAME.csv, with columns name and group.",
        },
    ),
    "--ignore": (
        "scoring.ignore",
        {
            "metavar": "MASK",
            "help": "Image that is white where images never count; one for all of them.",
        },
    ),
    "--white-level": (
        "data.white_level",
        {
            "type": int,
            "metavar": "NUMBER",
            "help": "Value of 16-bit files that is white: 4095 for a camera of 12 bits. "
            "[default: 65535]",
        },
    ),
    "--border": (
        "scoring.border",
        {"type": int, "help": "Pixels of an image that never count, on every side."},
    ),
}
_LABELS = ("category", "preset")


@dataclass(frozen=True)
class ConfigFile:
    """What --config received.

    Attributes:
        path: of the file.
        values: what it holds, by the names of config.json.
    """

    path: Path
    values: dict[str, Any]

    def label(self, name: str) -> str | None:
        """The file's category or preset; None where it names none."""
        value = self.values.get(name)
        return value if isinstance(value, str) and value else None


def _read_config(_: click.Context, __: click.Parameter, path: Path | None) -> ConfigFile | None:
    if path is None:
        return None
    from ssae_tf.config import read_values

    return ConfigFile(path, read_values(path))


def settings(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --preset, --config, --steps, --set and an option for what people change often."""
    for flag, (name, arguments) in reversed(_SETTINGS.items()):
        command = click.option(flag, name.replace(".", "_"), default=None, **arguments)(command)
    for option in (
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any setting of config.json, such as corruption.brightness=0.1; repeatable.",
        ),
        click.option(
            "--steps", type=click.IntRange(min=1), help="Training steps, all stages together."
        ),
        click.option(
            "--config",
            type=PATH,
            callback=_read_config,
            metavar="FILE",
            help="The config.json of a run, or part of one: its settings replace the preset's.",
        ),
        click.option(
            "--preset",
            type=click.Choice(["paper", "quick", "best"]),
            help="Settings to start from. [default: quick]",
        ),
    ):
        command = option(command)
    return command


def check_budget(minutes: float | None, values: Mapping[str, object]) -> None:
    """Refuses a budget given twice.

    Raises:
        click.UsageError: --steps is given as well.
    """
    if minutes is not None and values["steps"] is not None:
        raise click.UsageError("--minutes and --steps both set the number of steps; give one.")


def choose_category(name: str | None, values: Mapping[str, Any]) -> str | None:
    """The category that was asked for, else that of --config, else None: the only one there is."""
    file: ConfigFile | None = values["config"]
    return name or (None if file is None else file.label("category"))


def choose_preset(values: Mapping[str, Any], report: Reporter) -> str:
    """The preset that was asked for, else that of --config, else the default, said aloud.

    Raises:
        ConfigError: the file names a preset that there is not.
    """
    from ssae_tf.config import DEFAULT_PRESET, PRESET_NOTE, PRESETS

    file: ConfigFile | None = values["config"]
    name: str | None = values["preset"] or (None if file is None else file.label("preset"))
    if name is None:
        report.say(PRESET_NOTE)
        return DEFAULT_PRESET
    if name not in PRESETS:
        assert file is not None
        raise ConfigError(
            f"{file.path}: Unknown preset {name!r}. Expected one of: {', '.join(PRESETS)}."
        )
    return name


def build_config(
    values: dict[str, Any], category: str, report: Reporter, start: RunConfig | None = None
) -> RunConfig:
    """The preset with a category's recipe, and on it --config, then options, then --set.

    Args:
        report: told which preset was taken when none was given.
        start: settings in place of the preset.

    Raises:
        ConfigError: a file, option or assignment that the settings do not accept.
    """
    import dataclasses

    from ssae_tf import config as config_module
    from ssae_tf.training.schedule import with_steps

    config = start or config_module.preset(choose_preset(values, report), category)
    file: ConfigFile | None = values["config"]
    if file is not None:
        try:
            config = config_module.merge(config, file.values)
        except ConfigError as error:
            raise ConfigError(f"{file.path}: {error}") from None
    config = config_module.override(config, given(values))
    if values["steps"] is not None:
        factor = values["steps"] / config.training.steps
        training = with_steps(config.training, factor)
        config = dataclasses.replace(config, training=training)
    return config


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted setting -> value, of the options and then of --set.

    Raises:
        click.BadParameter: what --set received is not NAME=VALUE, or sets category or preset.
    """
    changes: dict[str, Any] = {}
    for setting, _ in _SETTINGS.values():
        value = values[setting.replace(".", "_")]
        if value is not None:
            changes[setting] = int(value) if setting == "objective.equation" else value
    for assignment in values["assignments"]:
        setting, sign, text = assignment.partition("=")
        if not sign:
            raise click.BadParameter(f"{assignment!r} is not NAME=VALUE.", param_hint="--set")
        if setting in _LABELS:
            # They only label the settings; the options also bring what belongs to them.
            raise click.BadParameter(f"use --{setting} instead.", param_hint=f"--set {setting}")
        changes[setting] = _parse_value(text)
    return changes


def _parse_value(text: str) -> Any:
    """JSON where it is JSON (numbers, lists, true, null) or Python's True or False, else text."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
