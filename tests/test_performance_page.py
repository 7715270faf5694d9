"""docs/performance.md has the figures of the result files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_page_and_results_agree(project_root: Path) -> None:
    command = [sys.executable, str(project_root / "benchmarks" / "report.py"), "--check"]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
