"""One HTML page with the tables and the runs' images, without anything from elsewhere.

Images are those of the run folders, linked relatively: the benchmark's folder can be moved as a
whole.
"""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from ssae_tf._version import __version__
from ssae_tf.evaluation.page import render
from ssae_tf.files import write_text
from ssae_tf.paper_tables.notes import missing, remarks, sources
from ssae_tf.paper_tables.results import Results
from ssae_tf.paper_tables.tables import FAILED, Table, all_tables

PAGE_FILE = "index.html"


def write_page(results: Results, out: Path) -> None:
    """Writes index.html.

    Args:
        results: as they are now; runs that are still to come are named.
        out: the benchmark's folder.

    Raises:
        RunError: it can't be written.
    """
    write_text(out / PAGE_FILE, render("page.html.j2", _content(results), "ssae_tf.paper_tables"))


def _content(results: Results) -> dict[str, Any]:
    plan = results.plan
    is_study = plan.study is not None
    return {
        "title": "Corruption study" if is_study else "The paper's tables, measured again",
        "kind": "Variant" if is_study else "Method",
        "version": __version__,
        "command": shlex.join(plan.command),
        "data": str(plan.data),
        "methods": [{"name": method.name, "about": method.about} for method in plan.methods],
        "missing": missing(results),
        "remarks": remarks(results),
        "tables": [_table(table) for table in all_tables(results)],
        "sources": [] if is_study else sources(),
        "images": [
            {"category": category, "runs": runs}
            for category in plan.categories
            if (runs := _runs(results, category))
        ],
    }


def _table(table: Table) -> dict[str, Any]:
    first = len(table.columns) - table.measured
    return {
        "title": table.title,
        "label": table.label,
        "columns": [
            {"text": text, "measured": index >= first} for index, text in enumerate(table.columns)
        ],
        "rows": [
            {
                "label": row.label,
                "average": row.is_average,
                "cells": [
                    {
                        "text": str(cell),
                        "measured": index >= first,
                        "failed": cell.text == FAILED,
                    }
                    for index, cell in enumerate(row.cells)
                ],
            }
            for row in table.rows
        ],
        "notes": table.notes,
    }


def _runs(results: Results, category: str) -> list[dict[str, Any]]:
    """The runs of a category that have images."""
    runs = []
    for method in results.plan.methods:
        outcome = results.outcomes.get((method.name, category))
        if outcome is not None and outcome.sheets:
            sheets = [
                {"link": quote(path), "kind": PurePosixPath(path).stem} for path in outcome.sheets
            ]
            runs.append({"method": method.name, "sheets": sheets})
    return runs
