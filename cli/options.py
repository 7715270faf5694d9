"""Options and helpers that several commands share."""

from __future__ import annotations

import codecs
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssae_tf.errors import DataError, RunError, printable

if TYPE_CHECKING:
    from rich.table import Table

    from ssae_tf.config import RunConfig
    from ssae_tf.progress import Reporter

DATA_VARIABLE = "SSAE_TF_DATA"

_FILE_WIDTH = 200

quiet = click.option("--quiet", is_flag=True, help="No progress, only warnings and results.")
data = click.option(
    "--data",
    type=click.Path(path_type=Path),
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
    found = list(Path("runs").glob("[!.]*/calibration.json"))
    if not found:
        raise RunError(
            "No finished run under runs/; name a run folder, or make one with `ssae-tf fit`."
        )
    newest = max(found, key=lambda path: path.stat().st_mtime).parent
    report.say(f"Run: {newest} (the newest under runs/).")
    return newest


def print_metrics(metrics: dict[str, Any]) -> None:
    """The table of metrics.json, and what the network repairs, on stdout."""
    from ssae_tf.evaluation.tables import metrics_table, projection_line

    print_table(metrics_table(metrics))
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
    if not console.is_terminal:
        # Rich takes 80 columns for a file or a pipe, and would break the names of kinds.
        console.width = _FILE_WIDTH
    console.print(table)


# Option -> (setting it changes, click arguments). None of them has a default of its own: what is
# not given stays as the preset has it.
_SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "--objective": (
        "objective.equation",
        {"type": click.Choice(["1", "2", "3"]), "help": "Equation of the paper."},
    ),
    "--weight": ("objective.weight", {"type": float, "help": "λ, weight of the normal region."}),
    "--norm": (
        "objective.norm",
        {"type": click.Choice(["l2", "l2_squared", "l1", "ssim"]), "help": "l2 is the paper's."},
    ),
    "--width": ("model.width", {"type": float, "help": "Scales filter counts; 1 is the paper's."}),
    "--learning-rate": ("training.learning_rate", {"type": float, "help": "Of Adam."}),
    "--seed": ("training.seed", {"type": int, "help": "Of everything random."}),
    "--sampling": (
        "data.sampling",
        {
            "type": click.Choice(["crop", "resize"]),
            "help": "Train on crops at native resolution, or on whole images resized.",
        },
    ),
    "--white-level": ("data.white_level", {"type": int, "help": "16-bit value that is white."}),
    "--group": (
        "data.group",
        {
            "metavar": "REGEX",
            "help": "Its capture group names the part in a file name: parts are never split.",
        },
    ),
    "--skip-unreadable": (
        "data.skip_unreadable",
        {"is_flag": True, "help": "Leave out files that can't be read."},
    ),
    "--corruption-in": (
        "corruption.where",
        {"type": click.Choice(["step", "data"]), "help": "Where images are corrupted."},
    ),
    "--jit": ("training.jit", {"is_flag": True, "help": "Compile the step with XLA."}),
    "--min-area": ("min_area", {"type": int, "help": "Pixels a defect must have."}),
    "--smoothing-sigma": (
        "scoring.smoothing_sigma",
        {"type": float, "help": "Width of the Gaussian over the map, pixels."},
    ),
}


def settings(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --preset, --steps, --set and an option for each setting people change often."""
    for flag, (name, arguments) in reversed(_SETTINGS.items()):
        command = click.option(flag, name.replace(".", "_"), default=None, **arguments)(command)
    command = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any setting of config.json, such as corruption.brightness=0.1; repeatable.",
    )(command)
    command = click.option(
        "--steps", type=click.IntRange(min=1), help="Training steps, all stages together."
    )(command)
    return click.option(
        "--preset",
        type=click.Choice(["paper", "quick", "best"]),
        help="Settings to start from. [default: quick]",
    )(command)


def check_budget(minutes: float | None, values: Mapping[str, object]) -> None:
    """Refuses a budget given twice.

    Args:
        minutes: what --minutes received.
        values: what the options of `settings` received.

    Raises:
        click.UsageError: --steps is given as well.
    """
    if minutes is not None and values["steps"] is not None:
        raise click.UsageError("--minutes and --steps both set the number of steps; give one.")


def choose_preset(name: str | None, report: Reporter) -> str:
    """The preset that was asked for, else the default, said aloud."""
    if name is not None:
        return name
    from ssae_tf.config import DEFAULT_PRESET, PRESET_NOTE

    report.say(PRESET_NOTE)
    return DEFAULT_PRESET


def build_config(values: dict[str, Any], category: str, report: Reporter) -> RunConfig:
    """The preset with a category's recipe and the given options applied.

    Args:
        values: what the options of `settings` received.
        category: name of the category.
        report: told which preset was taken when none was given.

    Raises:
        ConfigError: an option or assignment that the settings do not accept.
    """
    import dataclasses

    from ssae_tf import config as config_module
    from ssae_tf.training.schedule import with_steps

    name = choose_preset(values["preset"], report)
    changes: dict[str, Any] = {}
    for setting, arguments in _SETTINGS.values():
        value = values[setting.replace(".", "_")]
        # A flag that is not given is False under click, not None.
        if value is None or (arguments.get("is_flag") and not value):
            continue
        changes[setting] = int(value) if setting == "objective.equation" else value
    for assignment in values["assignments"]:
        setting, sign, text = assignment.partition("=")
        if not sign:
            raise click.BadParameter(f"{assignment!r} is not NAME=VALUE.", param_hint="--set")
        if setting in ("category", "preset"):
            # They only label the settings; the options also bring what belongs to them.
            raise click.BadParameter(f"use --{setting} instead.", param_hint=f"--set {setting}")
        changes[setting] = _parse_value(text)
    config = config_module.override(config_module.preset(name, category), changes)
    if values["steps"] is not None:
        factor = values["steps"] / config.training.steps
        training = with_steps(config.training, factor)
        config = dataclasses.replace(config, training=training)
    return config


def _parse_value(text: str) -> Any:
    """JSON where it is JSON (numbers, lists, true, null), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
