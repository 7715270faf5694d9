"""What the README shows is run: its Python example, and the commands that it names."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from ssae_tf.cli.main import COMMANDS, run


@pytest.fixture(scope="module")
def readme(project_root: Path) -> str:
    """The text of README.md."""
    return (project_root / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def demo(run_folder: Path, sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A working folder with what `make demo` leaves, from a smaller run."""
    shutil.copytree(run_folder, tmp_path / "demo" / "run")
    shutil.copytree(sample_root, tmp_path / "demo" / "data")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("demo")
def test_the_python_example_runs(readme: str, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    verdict, ratio = capsys.readouterr().out.splitlines()[0].split()
    assert verdict in ("True", "False")
    assert (float(ratio) > 1) == (verdict == "True") or float(ratio) == 1


def test_commands_and_options_exist(readme: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = re.findall(r"ssae-tf ([^`\n|]+)", readme)
    named = {shlex.split(line)[0] for line in lines if line[0].isalpha()}
    assert named == set(COMMANDS)
    for line in lines:
        name, *arguments = shlex.split(line)
        if name not in COMMANDS:
            continue
        assert run([name, "--help"]) == 0
        text = capsys.readouterr().out
        for argument in arguments:
            if argument.startswith("--"):
                assert argument in text, line


def test_the_image_is_there(readme: str, project_root: Path) -> None:
    for path in re.findall(r"\]\(([^)h][^)]*)\)", readme):
        assert (project_root / path).is_file(), path
