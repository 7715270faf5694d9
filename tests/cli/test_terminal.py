"""Results on the terminal that shows a progress bar: whole lines, never glued to the bar."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
from ssae_tf.cli import options
from ssae_tf.runtime.streams import standard_streams

with standard_streams(), options.reporter(False).task("Inspecting", 3) as task:
    for name in ("é", "[bold]b[/]", "c"):
        options.print_json({"path": name})
        task.advance()
"""


_TABLE = """
from ssae_tf.cli import options
from ssae_tf.evaluation.tables import FIGURES, ablation_table

options.print_table(ablation_table({"as_shipped": dict.fromkeys(FIGURES, 0.123)}))
"""


def _on_a_terminal(script: str, cwd: Path, columns: int = 80) -> str:
    """What a script writes to a terminal that is its stdin, stdout and stderr."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=cwd,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LC_ALL": "C.UTF-8"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        written = b""
        # OSError: nobody has the terminal open any more.
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:
            pass
        os.close(ours)
    return written.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind")
def test_json_lines_stand_above_the_bar(project_root: Path) -> None:
    written = _on_a_terminal(_SCRIPT, project_root)
    assert "Traceback" not in written
    # What a line holds once the cursor has gone back to its start and the line is erased.
    lines = [line.split("\r\x1b[2K")[-1].rstrip("\r") for line in written.split("\n")]
    plain = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in lines]
    results = [line for line in plain if line.startswith("{")]
    assert results == ['{"path": "é"}', '{"path": "[bold]b[/]"}', '{"path": "c"}']
    assert sum("Inspecting" in line for line in plain) > 0


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind")
def test_a_narrow_terminal_shows_every_figure_of_a_table(project_root: Path) -> None:
    written = _on_a_terminal(_TABLE, project_root, columns=60)
    assert written.count("0.123") == 8
    assert "as_shippe" in written
