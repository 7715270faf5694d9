"""Builds docs/performance.md from the result files: every table on the page comes from one.

    python benchmarks/report.py [--check]

The prose is in `performance.md.j2` beside this file. With --check nothing is written, and the exit
code is 1 where the page is not what template and results make.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
    environment.filters |= {"fixed": fixed, "ms": ms, "giga": giga, "sci": sci, "percent": percent}
    results = {path.stem: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*.json")}
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    return template.render(results=results, machine=the_machine(results.values()))


def the_machine(results: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The machine of all results that say more of it than its system.

    Raises:
        SystemExit: there are several, and the page names one.
    """
    machines = [result["machine"] for result in results if "machine" in result]
    known = [machine for machine in machines if "processor" in machine]
    # What the page says of it; the system's build does not count.
    said = ("processor", "cpus", "usable_cpus", "tensorflow")
    if any(machine[name] != known[0][name] for machine in known for name in said):
        sys.exit(f"Expected results of one machine. Received: {known}")
    return known[0]


def fixed(value: float, digits: int = 0) -> str:
    """With so many decimals, thousands apart."""
    return f"{value:,.{digits}f}"


def ms(seconds: float, digits: int = 0) -> str:
    """Milliseconds."""
    return fixed(1e3 * seconds, digits)


def giga(value: float, digits: int = 0) -> str:
    """Billions."""
    return fixed(value / 1e9, digits)


def sci(value: float) -> str:
    """One decimal and an exponent."""
    return f"{value:.1e}".replace("e-0", "e-")


def percent(share: float, digits: int = 0) -> str:
    """A share in percent."""
    return f"{100 * share:.{digits}f} %"


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
