"""The command as a process: its streams, its surroundings, and how TensorFlow starts in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssae_tf.cli.main import ExitCode

ROOT = Path(__file__).resolve().parents[2]


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


def test_without_a_home_tensorflow_starts_quietly_and_nothing_is_left_behind(
    homeless: dict[str, str], tmp_path: Path
) -> None:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    body = (
        "import ssae_tf.models; import ssae_tf.cli.options as o; print(o.sample_cache()); "
        "import tensorflow as tf; print(int(tf.reduce_sum(tf.ones(3))), file=sys.stderr)"
    )
    done = subprocess.run(
        _script(body, "probe"), cwd=cwd, env=homeless, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "3\n")
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
