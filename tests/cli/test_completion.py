"""Completion in a shell, as click's scripts for bash ask for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def _asked(instruction: str, words: str, cwd: Path) -> list[str]:
    environment = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", "from ssae_tf.cli.main import main; main()"],
        cwd=cwd,
        env={**os.environ, **environment, "_SSAE_TF_COMPLETE": instruction},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ssae-tf pre", ["plain,predict", "plain,preview"]),
        ("ssae-tf predict --co", ["plain,--coco"]),
        ("ssae-tf fit --preset b", ["plain,best"]),
    ],
)
def test_commands_and_options_are_completed(
    words: str, expected: list[str], project_root: Path
) -> None:
    assert _asked("bash_complete", words, project_root) == expected


def test_the_script_for_a_shell_is_printed(project_root: Path) -> None:
    # Its source wants a bash, to know the version.
    text = "\n".join(_asked("zsh_source", "ssae-tf", project_root))
    assert "#compdef ssae-tf" in text
