"""The page: well-formed, self-contained, and nothing on it is taken for markup."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from html_page import Page
from ssae_tf import config as config_module
from ssae_tf.config import RunConfig
from ssae_tf.paper_tables.methods import corruption_study
from ssae_tf.paper_tables.page import write_page
from ssae_tf.paper_tables.results import Outcome, Results

MakeResults = Callable[..., Results]


def _read(out: Path) -> Page:
    return Page((out / "index.html").read_text(encoding="utf-8"))


def _with_sheets(results: Results, out: Path) -> Results:
    for (method, category), outcome in results.outcomes.items():
        sheet = f"{method}/{category}/sheets/bent & <b>.png"
        (out / sheet).parent.mkdir(parents=True)
        (out / sheet).write_bytes(b"")
        results.outcomes[method, category] = Outcome(outcome.metrics, outcome.error, None, (sheet,))
    return results


ODD = "50% <i>#1?</i>"


@pytest.fixture
def results(make_results: MakeResults, tmp_path: Path, config: RunConfig) -> Results:
    changes = {
        "model.answer": "gated",
        "training.stages": [{"size": 32, "batch_size": 1, "steps": 5}],
    }
    gated = config_module.override(config, changes)
    # A name with a slash is no folder's.
    odd = ODD.replace("/", "_")
    found = {("ssae", "tile"): 0.5, ("ae-l2", "tile"): 0.4, ("ssae", odd): 0.3}
    results = _with_sheets(make_results(found, categories=("tile", odd), config=gated), tmp_path)
    results.outcomes["ae-l2", odd] = Outcome(error="Expected <1> & got 2.")
    return results


def test_the_page_can_be_moved_and_needs_nothing_else(results: Results, tmp_path: Path) -> None:
    write_page(results, tmp_path)
    page = _read(tmp_path)
    # An image and a link to it each.
    assert len(page.links) == 6
    for link in page.links:
        assert "://" not in link
        assert not link.startswith(("/", "data:"))
        assert (tmp_path / unquote(link)).is_file()
    for outside in ("<script", "<link", "@import", "url(", "http"):
        assert outside not in page.source
    assert 'name="viewport"' in page.source


def test_the_tables_are_on_it(results: Results, tmp_path: Path) -> None:
    write_page(results, tmp_path)
    page = _read(tmp_path)
    assert len(page.tables) == 4
    rows = {row[0]: row[1:] for row in page.tables[0]}
    assert rows["Category"][-2:] == ["ssae (measured)", "ae-l2 (measured)"]
    assert rows["Tile"][-2:] == ["0.550", "0.450"]
    assert rows["avg. objects"][1] == "0.88 (0.74)"
    assert rows["Wood"][-2:] == ["", ""]
    assert rows["50% <i>#1?<_i>"] == [""] * 8 + ["0.350", "failed"]


def test_notes_are_on_it(results: Results, tmp_path: Path) -> None:
    write_page(results, tmp_path)
    page = _read(tmp_path)
    assert "failed: Expected <1> & got 2." in page.text
    assert "The settings have a gated answer; ae-l2 have a plain one" in page.text
    assert "5 steps for each of the methods: tile, 50% <i>#1?<_i>." in page.text
    assert "preset quick, objective (3), norm l1" in page.text
    assert "arXiv:2206.11723v1" in page.text
    assert "P. Bergmann" in page.text


def test_what_is_still_to_come(make_results: MakeResults, tmp_path: Path) -> None:
    write_page(make_results({("ssae", "tile"): 0.5}, minutes=2.5), tmp_path)
    page = _read(tmp_path)
    assert "Still to come: ae-l2 on tile, ssae on slate, ae-l2 on slate." in page.text
    assert "2.5 minutes of training" in page.text
    assert "gated answer" not in page.text
    assert "Images" not in page.text


def test_the_study(make_results: MakeResults, tmp_path: Path) -> None:
    variants = corruption_study()
    found = {(variant.name, "tile"): 0.5 for variant in variants}
    results = make_results(found, categories=("tile",), methods=variants, study="corruption")
    write_page(_with_sheets(results, tmp_path), tmp_path)
    page = _read(tmp_path)
    assert len(page.tables) == 2
    assert [row[0] for row in page.tables[0]] == ["Variant", *(v.name for v in variants)]
    assert len(page.links) == 2 * 16
    assert all((tmp_path / unquote(link)).is_file() for link in page.links)
    assert "Sources" not in page.text
    assert "objective (3), norm" not in page.text
