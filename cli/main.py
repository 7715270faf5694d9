"""The entry point of `ssae-tf`: subcommands loaded on demand, failures told in one sentence.

Neither `--help` nor `--version` imports a subcommand or TensorFlow.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.abc
import importlib.machinery
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import ModuleType
from typing import Any

import click

from ssae_tf import __version__
from ssae_tf.errors import ConfigError, SsaeError, one_line, printable
from ssae_tf.runtime import signals
from ssae_tf.runtime.streams import ReaderGone, open_missing, standard_streams, stderr_held_back

# Name -> (module that holds the click command as `command`, its one-line help).
COMMANDS = {
    "check": ("ssae_tf.cli.check", "Look for what is wrong with a folder, before training."),
    "fit": ("ssae_tf.cli.fit", "Train, calibrate and evaluate a detector."),
    "calibrate": ("ssae_tf.cli.calibrate", "Set a run's threshold anew, without training."),
    "evaluate": ("ssae_tf.cli.evaluate", "Measure a run on its test images."),
    "compare": ("ssae_tf.cli.compare", "Show runs side by side."),
    "predict": ("ssae_tf.cli.predict", "Inspect images: one JSON line each."),
    "watch": ("ssae_tf.cli.watch", "Inspect images as they arrive in a folder, and notice drift."),
    "export": ("ssae_tf.cli.export", "Make an artefact that runs without this package."),
    "selftest": ("ssae_tf.cli.selftest", "Check that a run inspects here as where it was made."),
    "latency": ("ssae_tf.cli.latency", "Time one image, part by part."),
    "benchmark": ("ssae_tf.cli.benchmark", "Many categories and methods: the paper's tables."),
    "sample-data": ("ssae_tf.cli.sample_data", "Write the embedded sample data set."),
    "preview": ("ssae_tf.cli.preview", "Show corrupted training images."),
    "summary": ("ssae_tf.cli.summary", "Print the network layer by layer."),
}

_COMPLETE = "_SSAE_TF_COMPLETE"
"""Click's variable for completion in a shell."""


class ExitCode(IntEnum):
    """What a command reports to the shell; `ctx.exit(ExitCode.PARTIAL)` in a command gives it."""

    SUCCESS = 0
    FAILURE = 1
    USAGE = 2
    PARTIAL = 3
    INTERRUPTED = 130
    READER_GONE = 141


@dataclass
class Settings:
    """What holds for every command, kept as `ctx.obj`.

    Attributes:
        verbose: print tracebacks, and let TensorFlow log as it pleases.
    """

    verbose: bool = False


def _set_verbose(context: click.Context, _: click.Parameter, value: bool) -> None:
    # The option stands on the group and on every command: one use of it is enough.
    if value:
        context.ensure_object(Settings).verbose = True


def _verbose_option() -> click.Option:
    return click.Option(
        ["--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_set_verbose,
        envvar="SSAE_TF_VERBOSE",
        help="Show tracebacks and TensorFlow's own messages.",
    )


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of all commands, in the order of a user's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Imports a command; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        if all(option.name != "verbose" for option in command.params):
            command.params.append(_verbose_option())
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command that the arguments name; a misspelt one gets the nearest as a hint."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            expected = f"Did you mean {near[0]}?" if near else f"Expected {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {name!r}. {expected}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Writes the table of commands from the one-line helps above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> None:
        """Runs the command; what it returns is no exit code, only `ctx.exit` sets one."""
        super().invoke(ctx)


@click.group(
    cls=LazyGroup,
    params=[_verbose_option()],
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: ssae-tf fit --category tile",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Find defects in images, having seen only good ones.

    Exit codes: 0 success, 1 failure, 2 wrong usage, 3 something useful was made but not all that
    was asked for.
    """


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; every failure is one sentence on stderr.

    Returns:
        The exit code: see `ExitCode`; 128 + the number of a signal that ended it.
    """
    settings = Settings()
    finder, notes = _QuietTensorFlow(settings), _Notes()
    sys.meta_path.insert(0, finder)
    logging.getLogger("ssae_tf").addHandler(notes)
    try:
        with standard_streams():
            return _run(arguments, settings)
    finally:
        logging.getLogger("ssae_tf").removeHandler(notes)
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)


def _run(arguments: Sequence[str], settings: Settings) -> int:
    try:
        with signals.raised():
            code = cli.main(
                list(arguments), prog_name="ssae-tf", standalone_mode=False, obj=settings
            )
        # A reader that has gone is noticed here, not when the interpreter shuts down.
        sys.stdout.flush()
        return code or ExitCode.SUCCESS
    except click.ClickException as error:
        error.message = printable(error.message)  # type: ignore[misc]
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        return _tell("Interrupted.", signals.exit_code(error), settings)
    except SsaeError as error:
        return _tell(f"Error: {error}", ExitCode.FAILURE, settings)
    except ReaderGone:
        return ExitCode.READER_GONE
    except Exception as error:
        hint = "" if settings.verbose else " (--verbose shows where)"
        return _tell(f"Error: {one_line(error)}{hint}", ExitCode.FAILURE, settings)


def main() -> None:
    """What the console script and `python -m ssae_tf` call."""
    open_missing()
    if _COMPLETE in os.environ:
        # A shell asks for completions, which click writes as bytes: to no stream of ours.
        cli(prog_name="ssae-tf")
    sys.exit(run(sys.argv[1:]))


def _tell(message: str, code: int, settings: Settings) -> int:
    if settings.verbose:
        traceback.print_exc()
    click.echo(printable(message), err=True)
    return code


class _Notes(logging.Handler):
    """Prints what the package logs as plain lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(printable(record.getMessage()), err=True)


class _QuietTensorFlow(importlib.abc.MetaPathFinder):
    """Imports TensorFlow, whatever the surroundings, with its start-up messages off the terminal.

    TF_CPP_MIN_LOG_LEVEL is not enough: TensorFlow 2.21 logs before it reads the variable. So the
    import itself runs with stderr held back, and lets go of it if the import fails.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        _prepare_environment()
        if not self.settings.verbose:
            # It warns of a home that it can't write to, and does without.
            logging.getLogger("matplotlib").setLevel(logging.ERROR)
            # Level 2 still shows a failed call of cuInit on every machine without a GPU.
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            held = contextlib.nullcontext() if self.settings.verbose else stderr_held_back()
            refused = None
            with held:
                try:
                    execute(module)
                except Exception as error:
                    if "keras" not in traceback.extract_tb(error.__traceback__)[-1].filename:
                        raise
                    refused = error
            if refused is not None:
                raise ConfigError(
                    f"{_keras_settings()}: TensorFlow can't start with these settings of Keras "
                    f"({one_line(refused)})."
                ) from refused

        loader: Any = spec.loader
        loader.exec_module = exec_module
        return spec


def _prepare_environment() -> None:
    """Sets what is read when TensorFlow and matplotlib are imported.

    No window is opened, so that matplotlib needs no backend of a notebook. And without a home
    TensorFlow would make a folder of the name ~ here.
    """
    os.environ["MPLBACKEND"] = "agg"
    if os.path.expanduser("~") == "~":
        os.environ.setdefault("KERAS_HOME", os.path.join(tempfile.gettempdir(), ".keras"))


def _keras_settings() -> str:
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    return os.path.expanduser(os.path.join(home, "keras.json"))
