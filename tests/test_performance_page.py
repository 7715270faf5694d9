"""docs/performance.md has the figures of the result files, and nothing in benchmarks/ is idle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What the scripts share, and PyTorch's side of them.
HELPERS = {"measure.py", "torch_peers.py"}


@pytest.fixture(scope="module")
def pages(project_root: Path) -> str:
    """All that users read."""
    paths = [project_root / "README.md", *sorted((project_root / "docs").glob("*.md"))]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def test_page_and_results_agree(project_root: Path) -> None:
    command = [sys.executable, str(project_root / "benchmarks" / "report.py"), "--check"]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_every_result_feeds_a_page(project_root: Path, pages: str) -> None:
    results = {path.name for path in (project_root / "benchmarks" / "results").iterdir()}
    assert results
    assert {name for name in results if f"results/{name}" not in pages} == set()


def test_every_script_is_named_by_a_page(project_root: Path, pages: str) -> None:
    scripts = {path.name for path in (project_root / "benchmarks").glob("*.py")} - HELPERS
    assert len(scripts) <= 10
    assert {name for name in scripts if f"benchmarks/{name}" not in pages} == set()
