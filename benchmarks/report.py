"""Builds docs/performance.md from the result files: every table on the page comes from one.

    python benchmarks/report.py [--check]

The prose is in `performance.md.j2` beside this file. With --check nothing is written, and the exit
code is 1 where the page is not what template and results make.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import jinja2

_HERE = Path(__file__).parent
PAGE = _HERE.parent / "docs" / "performance.md"
TEMPLATE = _HERE / "performance.md.j2"
RESULTS = _HERE / "results"


def page() -> str:
    """The page as template and results make it."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {
        "fixed": lambda value, digits=0: f"{value:,.{digits}f}",
        "ms": lambda seconds, digits=0: f"{1e3 * seconds:,.{digits}f}",
        "giga": lambda value, digits=0: f"{value / 1e9:,.{digits}f}",
        "sci": lambda value: f"{value:.1e}".replace("e-0", "e-"),
        "percent": lambda value, digits=0: f"{100 * value:.{digits}f} %",
    }
    results = {path.stem: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*.json")}
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(results=results)


def main() -> None:
    """Writes the page, or says whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text("utf-8") != page():
        sys.exit(f"{PAGE} is not what results and template make: run benchmarks/report.py")


if __name__ == "__main__":
    main()
