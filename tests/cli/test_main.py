"""The frame of the command line: help, exit codes, and failures in one sentence."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import runpy
import signal
import subprocess
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

ROOT = Path(__file__).resolve().parents[2]
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


_PROBE = """
import sys, types, click
from ssae_tf.cli.main import COMMANDS, main

def function():
    {body}

command = click.Command("probe", callback=function)
sys.modules["probe_command"] = types.SimpleNamespace(command=command)
COMMANDS["probe"] = ("probe_command", "")
sys.argv[1:] = {arguments}
main()
"""


def _script(body: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", _PROBE.format(body=body, arguments=list(arguments))]


def _environment(**changes: str) -> dict[str, str]:
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    return environment | changes


@pytest.mark.skipif(os.name == "nt", reason="no such pipes on Windows")
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        _script("print('x')", "probe"),
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (ExitCode.READER_GONE, b"")


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


def test_tensorflow_starts_quietly(tmp_path: Path) -> None:
    body = "import tensorflow as tf; print(int(tf.reduce_sum(tf.ones(3))), file=sys.stderr)"
    done = subprocess.run(
        _script(body, "probe"),
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "3\n")


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


# Surroundings.


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_not_mixed_up_with_files(closed: str, tmp_path: Path) -> None:
    body = (
        "file = open('kept', 'w'); print('a result'); click.echo('a note', err=True); "
        "__import__('os').write(2, b'native'); file.write('its own'); file.close()"
    )
    line = f'"$@" {closed}'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *_script(body, "probe")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "kept").read_text() == "its own"
    assert done.stdout == ("" if ">&- " in f" {closed} ".replace("2>&-", "") else "a result\n")
    assert done.stderr == ("" if "2>&-" in closed else "a note\nnative")


def test_results_on_a_full_disk_are_an_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            _script("print('x')", "probe"), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == ExitCode.FAILURE
    assert done.stderr == b"Error: stdout: can't be written to (No space left on device).\n"


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


# Python asks it before anything else: there is no entry in /etc/passwd.
_NO_PASSWD = """
import pwd
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid
"""


@pytest.fixture
def homeless(tmp_path: Path) -> dict[str, str]:
    """The environment of a user without a home or an entry in /etc/passwd."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_NO_PASSWD, encoding="utf-8")
    path = os.pathsep.join([str(folder), str(ROOT)])
    gone = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "KERAS_HOME", "MPLCONFIGDIR")
    kept = {name: value for name, value in _environment().items() if name not in gone}
    return {**kept, "PYTHONPATH": path, "TMPDIR": str(folder)}


def test_a_run_is_evaluated_in_odd_surroundings(
    run_folder: Path, homeless: dict[str, str], tmp_path: Path
) -> None:
    keras = tmp_path / "keras"
    keras.mkdir()
    (keras / "keras.json").write_text(
        '{"floatx": "float16", "image_data_format": "channels_first", "backend": "torch"}'
    )
    odd = {
        "KERAS_HOME": str(keras),
        "KERAS_BACKEND": "jax",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        # No folder can be made there, not even by root.
        "MPLCONFIGDIR": "/dev/null/matplotlib",
        "PYTHONIOENCODING": "ascii:strict",
        "TERM": "dumb",
        "TF_USE_LEGACY_KERAS": "1",
    }
    command = [sys.executable, "-m", "ssae_tf", "evaluate", run_folder, "--out", "out", "--quiet"]
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *map(str, command)],
        cwd=tmp_path,
        env={**homeless, **odd},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "defect kind" in done.stdout.decode("ascii")
    assert {path.name for path in tmp_path.iterdir()} == {"keras", "out", "site"}
    assert (tmp_path / "out" / "sheets" / "good.png").is_file()
    own = json.loads((run_folder / "metrics.json").read_text())
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["image_auroc"] == own["image_auroc"]
    assert found["threshold"] == own["threshold"]
    residual = own["projection"]["residual"]
    assert found["projection"]["residual"] == pytest.approx(residual, rel=1e-4)


def test_without_a_home_nothing_is_left_behind(homeless: dict[str, str], tmp_path: Path) -> None:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    body = "import ssae_tf.models; import ssae_tf.cli.options as o; print(o.sample_cache())"
    done = subprocess.run(
        _script(body, "probe"), cwd=cwd, env=homeless, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'site' / 'ssae-tf-sample-data-1'}\n"
    assert not list(cwd.iterdir())


@pytest.mark.parametrize("settings", ['{"floatx": "float8"}', "[]"])
def test_settings_that_keep_tensorflow_from_starting_are_named(
    settings: str, tmp_path: Path
) -> None:
    (tmp_path / "keras.json").write_text(settings)
    done = subprocess.run(
        _script("import tensorflow", "probe"),
        env=_environment(KERAS_HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.FAILURE
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: {tmp_path / 'keras.json'}: TensorFlow can't start with these ")
