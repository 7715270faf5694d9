"""One HTML page with the tables and the runs' images, without anything from elsewhere.

Images are those of the run folders, linked relatively: the benchmark's folder can be moved as a
whole.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from ssae_tf._version import __version__
from ssae_tf.evaluation.page import render
from ssae_tf.files import write_text
from ssae_tf.paper_tables.notes import missing, remarks, sources
from ssae_tf.paper_tables.results import Results
from ssae_tf.paper_tables.tables import FAILED, all_tables

PAGE_FILE = "index.html"


def write_page(results: Results, out: Path) -> None:
    """Writes index.html.

    Args:
        results: as they are now; runs that are still to come are named.
        out: the benchmark's folder.

    Raises:
        RunError: it can't be written.
    """
    plan = results.plan
    is_study = plan.study is not None
    content = {
        "title": "Corruption study" if is_study else "The paper's tables, measured again",
        "kind": "Variant" if is_study else "Method",
        "version": __version__,
        "command": shlex.join(plan.command),
        "data": str(plan.data),
        "methods": plan.methods,
        "missing": missing(results),
        "remarks": remarks(results),
        "tables": all_tables(results),
        "failed": FAILED,
        "sources": [] if is_study else sources(),
        "images": {
            category: sheets
            for category in plan.categories
            if (sheets := _sheets(results, category))
        },
    }
    write_text(out / PAGE_FILE, render("page.html.j2", content, "ssae_tf.paper_tables"))


def _sheets(results: Results, category: str) -> dict[str, tuple[str, ...]]:
    """The images of a category's runs, by method, as far as there are any."""
    outcomes = {m.name: results.outcomes.get((m.name, category)) for m in results.plan.methods}
    return {name: one.sheets for name, one in outcomes.items() if one is not None and one.sheets}
