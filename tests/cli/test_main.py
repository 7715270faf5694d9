"""The frame of the command line: help, exit codes, and failures in one sentence."""

from __future__ import annotations

import importlib
import io
import logging
import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

import ssae_tf
from ssae_tf import errors
from ssae_tf.cli import main as cli_main
from ssae_tf.cli.main import COMMANDS, ExitCode, run

Probe = Callable[[Callable[[], Any]], None]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    """Registers a function as the command `probe`."""

    def register(function: Callable[[], Any]) -> None:
        module = ModuleType("probe_command")
        module.command = click.Command("probe", callback=function)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "probe_command", module)
        monkeypatch.setitem(COMMANDS, "probe", ("probe_command", "A command for this test."))

    return register


def _raise(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


@pytest.mark.parametrize("name", COMMANDS)
def test_one_line_help_is_the_commands_own(name: str) -> None:
    module, text = COMMANDS[name]
    command = importlib.import_module(module).command
    assert isinstance(command, click.Command)
    assert command.get_short_help_str(limit=200) == text
    assert len(text) <= 60


def test_help_lists_every_command_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == ExitCode.SUCCESS
    out = capsys.readouterr().out
    rows = [line.split() for line in out.partition("Commands:")[2].splitlines() if line.strip()]
    assert [row[0] for row in rows if row[0] in COMMANDS] == list(COMMANDS)
    for _, text in COMMANDS.values():
        assert text in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == ExitCode.SUCCESS
    assert capsys.readouterr().out == f"ssae-tf {ssae_tf.__version__}\n"


def test_success_is_silent(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    probe(lambda: 5)  # what a command returns is no exit code
    assert run(["probe"]) == ExitCode.SUCCESS
    assert capsys.readouterr() == ("", "")


def test_partial(probe: Probe) -> None:
    probe(lambda: click.get_current_context().exit(ExitCode.PARTIAL))
    assert run(["probe"]) == 3


@pytest.mark.parametrize(
    "error",
    [
        errors.SsaeError("No such folder."),
        errors.DataError("No such folder."),
        errors.ConfigError("No such folder."),
        errors.MissingExtraError("No such folder."),
        click.ClickException("No such folder."),
    ],
)
def test_a_mendable_error_is_one_sentence(
    error: Exception, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    probe(_raise(error))
    assert run(["probe"]) == ExitCode.FAILURE
    assert capsys.readouterr() == ("", "Error: No such folder.\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("bad\nmany\nlines"), "Error: ValueError: bad (--verbose shows where)\n"),
        (RuntimeError(), "Error: RuntimeError (--verbose shows where)\n"),
        (OSError("x" * 400), f"Error: OSError: {'x' * 299}… (--verbose shows where)\n"),
    ],
)
def test_an_unforeseen_error_is_one_sentence(
    error: Exception, sentence: str, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    probe(_raise(error))
    assert run(["probe"]) == ExitCode.FAILURE
    assert capsys.readouterr() == ("", sentence)


@pytest.mark.parametrize("arguments", [["--verbose", "probe"], ["probe", "--verbose"]])
@pytest.mark.parametrize("error", [errors.DataError("No such folder."), ValueError("bad")])
def test_verbose_gives_the_traceback(
    error: Exception, arguments: list[str], probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    probe(_raise(error))
    assert run(arguments) == ExitCode.FAILURE
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("Error: ")
    assert str(error) in lines[-1]
    assert "--verbose" not in lines[-1]


def test_verbose_by_environment(
    probe: Probe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe(_raise(errors.DataError("No such folder.")))
    monkeypatch.setenv("SSAE_TF_VERBOSE", "1")
    assert run(["probe"]) == ExitCode.FAILURE
    assert capsys.readouterr().err.startswith("Traceback")


def test_verbose_does_not_outlast_its_command_line(
    probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    probe(_raise(errors.DataError("No such folder.")))
    run(["probe", "--verbose"])
    capsys.readouterr()
    run(["probe"])
    assert capsys.readouterr().err == "Error: No such folder.\n"


def test_interruption(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    probe(_raise(KeyboardInterrupt()))
    assert run(["probe"]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err.strip() == "Interrupted."


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_other_signals_end_as_ctrl_c_does(
    number: int, code: int, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    probe(lambda: signal.raise_signal(number))
    assert run(["probe"]) == code
    assert capsys.readouterr().err.strip() == "Interrupted."
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prob"], "No such command 'prob'. Did you mean probe?"),
        (["xyz"], "No such command 'xyz'. Expected check, fit"),
        (["probe", "--nope"], "No such option"),
        (["--nope"], "No such option"),
        (["probe", "extra"], "unexpected extra argument"),
    ],
)
def test_wrong_usage(
    arguments: list[str], message: str, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    probe(lambda: None)
    assert run(arguments) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


def test_main_exits_with_the_code(
    monkeypatch: pytest.MonkeyPatch, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    probe(_raise(errors.RunError("Half a run.")))
    monkeypatch.setattr(sys, "argv", ["ssae-tf", "probe"])
    with pytest.raises(SystemExit) as exit_:
        cli_main.main()
    assert exit_.value.code == 1
    assert capsys.readouterr().err == "Error: Half a run.\n"


@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("no-such-command", 2)])
def test_python_m(argument: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ssae_tf", argument])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("ssae_tf", run_name="__main__")
    assert exit_.value.code == code


def test_completion_knows_the_commands() -> None:
    completion = ShellComplete(cli_main.cli, {}, "ssae-tf", "_SSAE_TF_COMPLETE")
    assert [item.value for item in completion.get_completions([], "su")] == ["summary"]


def test_a_reader_that_goes_away_before_the_end(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

        def fileno(self) -> int:
            return descriptor

    descriptor = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    probe(lambda: None)
    monkeypatch.setattr(sys, "stdout", Closed())
    assert run(["probe"]) == ExitCode.READER_GONE
    monkeypatch.undo()
    assert os.write(descriptor, b"x") == 1, "goes to the null device now"
    assert (tmp_path / "out").read_bytes() == b""
    os.close(descriptor)


@pytest.fixture
def fake_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Puts a module with the given source in TensorFlow's place."""
    real = sys.modules.get("tensorflow")

    def write(source: str) -> None:
        sys.modules.pop("tensorflow", None)
        (tmp_path / "tensorflow.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)

    # Set first, so that what the code under test puts there is taken back.
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    yield write
    sys.modules.pop("tensorflow", None)
    if real is not None:
        sys.modules["tensorflow"] = real


def _import_tensorflow() -> None:
    importlib.import_module("tensorflow")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["probe"], ("level 3\n", "")), (["probe", "--verbose"], ("level None\n", "a note\n"))],
)
def test_tensorflow_logs_as_it_pleases_when_verbose(
    arguments: list[str],
    expected: tuple[str, str],
    probe: Probe,
    fake_tensorflow: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    fake_tensorflow(
        "import os\n"
        "print('level', os.environ.get('TF_CPP_MIN_LOG_LEVEL'))\n"
        "os.write(2, b'a note\\n')\n"
    )
    probe(_import_tensorflow)
    assert run(arguments) == ExitCode.SUCCESS
    assert capfd.readouterr() == expected


def test_a_log_level_from_the_shell_stays(
    probe: Probe,
    fake_tensorflow: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fake_tensorflow("import os\nprint(os.environ['TF_CPP_MIN_LOG_LEVEL'])\n")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    probe(_import_tensorflow)
    assert run(["probe"]) == ExitCode.SUCCESS
    assert capfd.readouterr() == ("1\n", "")


def test_what_a_failed_import_said_is_shown(
    probe: Probe, fake_tensorflow: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    fake_tensorflow(
        "import os\nos.write(2, b'libcudnn is lost\\n')\nraise ImportError('no cuDNN')\n"
    )
    probe(_import_tensorflow)
    assert run(["probe"]) == ExitCode.FAILURE
    assert capfd.readouterr().err == (
        "libcudnn is lost\nError: ImportError: no cuDNN (--verbose shows where)\n"
    )


def test_the_import_hook_is_taken_back(probe: Probe) -> None:
    before = list(sys.meta_path)
    probe(lambda: None)
    run(["probe"])
    assert sys.meta_path == before


@pytest.mark.parametrize(
    "error", [errors.DataError("a\n\x1b[31mb: gone."), click.UsageError("a\n\x1b[31mb: gone.")]
)
def test_names_in_errors_are_escaped(
    error: Exception, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    probe(_raise(error))
    run(["probe"])
    assert capsys.readouterr().err.endswith("Error: a\\n\\x1b[31mb: gone.\n")


def test_what_the_package_logs_is_escaped(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    probe(lambda: logging.getLogger("ssae_tf").warning("%s: holds no images.", "a\nb"))
    assert run(["probe"]) == ExitCode.SUCCESS
    assert capsys.readouterr().err == "a\\nb: holds no images.\n"
    assert not logging.getLogger("ssae_tf").handlers
