"""Tables: every figure in its place, averages by hand, blanks that stay blank."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from ssae_tf.paper_tables import published
from ssae_tf.paper_tables.methods import METHODS, corruption_study
from ssae_tf.paper_tables.results import Results
from ssae_tf.paper_tables.tables import Cell, Table, more_table, paper_table, study_tables
from ssae_tf.paper_tables.writing import markdown, write_tables

MakeResults = Callable[..., Results]
CATEGORIES = ("carpet", "grid", "leather", "bottle", "slate")


@pytest.fixture
def results(make_results: MakeResults) -> Results:
    """Two methods on three textures, one object and one other category; one of ten fails."""
    figures = (0.80, 0.70, 0.60, 0.50, 0.40)
    found = {("ssae", name): figure for name, figure in zip(CATEGORIES, figures, strict=True)}
    found |= {("ae-l2", name): figure / 2 for name, figure in zip(CATEGORIES, figures, strict=True)}
    return make_results(found | {("ae-l2", "grid"): "The disk is full."}, categories=CATEGORIES)


def _rows(table: Table) -> dict[str, list[str]]:
    return {row.label: [str(cell) for cell in row.cells] for row in table.rows}


def test_the_papers_shape(results: Results) -> None:
    known = published.load()
    names = [name.replace("_", " ").title() for name in known.categories]
    for number in (2, 3, 4):
        table = paper_table(number, results)
        assert [row.label for row in table.rows] == [
            *names[:5],
            "avg. textures",
            *names[5:],
            "avg. objects",
            "avg. all",
            "slate",
        ]
        assert [row.label for row in table.rows if row.is_average] == [
            "avg. textures",
            "avg. objects",
            "avg. all",
        ]
        assert table.columns[-3:] == ("Ours (paper)", "ssae (measured)", "ae-l2 (measured)")
        assert table.measured == 2
        assert {len(row.cells) for row in table.rows} == {len(table.columns)}


def test_published_columns_are_as_printed(results: Results) -> None:
    rows = _rows(paper_table(2, results))
    assert rows["Metal Nut"][:8] == ["0.54", "0.73", "0.50", "0.65", "–", "0.67", "0.83", "0.63"]
    assert rows["avg. textures"][:2] == ["0.63", "0.65"]
    assert _rows(paper_table(4, results))["Carpet"][3] == "0.99/0.76"


def test_contradicted_averages_show_both(results: Results) -> None:
    rows = _rows(paper_table(2, results))
    assert rows["avg. objects"][:4] == ["0.64", "0.88 (0.74)", "0.74 (0.56)", "0.53"]
    assert rows["avg. all"][:4] == ["0.63", "0.82 (0.71)", "0.71 (0.55)", "0.59"]
    assert "printed (recomputed from the rows" in paper_table(2, results).notes[0]
    for number in (3, 4):
        table = paper_table(number, results)
        assert table.notes == ()
        assert not any(cell.recomputed for row in table.rows for cell in row.cells)


def test_measured_figures_and_averages(results: Results) -> None:
    # balanced_accuracy lies 0.05 above the first figure, pixel_auroc 0.01, the F1s 0.06 and 0.07.
    second, third, fourth = (_rows(paper_table(number, results)) for number in (2, 3, 4))
    assert [second[name][-2] for name in ("Carpet", "Grid", "Leather", "Bottle", "slate")] == [
        *("0.850", "0.750", "0.650", "0.550", "0.450")
    ]
    assert second["avg. textures"][-2:] == ["0.750 (3 of 5)", "0.400 (2 of 5)"]
    assert second["avg. objects"][-2:] == ["0.550 (1 of 10)", "0.300 (1 of 10)"]
    # Without slate, which is not in the paper: (0.85 + 0.75 + 0.65 + 0.55) / 4.
    assert second["avg. all"][-2] == "0.700 (4 of 15)"
    assert third["Carpet"][-2:] == ["0.810", "0.410"]
    assert fourth["Carpet"][-2:] == ["0.860/0.870", "0.460/0.470"]
    assert fourth["avg. textures"][-2] == "0.760/0.770 (3 of 5)"


def test_what_was_not_measured_stays_blank(results: Results) -> None:
    rows = _rows(paper_table(2, results))
    assert rows["Tile"][-2:] == ["", ""]
    assert rows["Grid"][-1] == "failed"
    assert rows["slate"][:-2] == [""] * 8
    del results.outcomes["ssae", "bottle"], results.outcomes["ae-l2", "bottle"]
    rows = _rows(paper_table(2, results))
    assert rows["Bottle"][-2:] == rows["avg. objects"][-2:] == ["", ""]


def test_averages_over_all_need_no_count(make_results: MakeResults) -> None:
    names = published.load().groups["textures"]
    results = make_results(
        {("ssae", name): 0.1 * place for place, name in enumerate(names)},
        categories=names,
        methods=(METHODS["ssae"],),
    )
    assert _rows(paper_table(3, results))["avg. textures"][-1] == "0.210"


def test_figures_that_are_undefined(make_results: MakeResults) -> None:
    found = {("ssae", "carpet"): {"f1_pixel": None}, ("ssae", "grid"): 0.5}
    results = make_results(found, categories=("carpet", "grid"), methods=(METHODS["ssae"],))
    rows = _rows(paper_table(4, results))
    assert rows["Carpet"][-1] == "0.060/–"
    # (0.06 + 0.56) / 2 over two categories, 0.57 over one.
    assert rows["avg. textures"][-1] == "0.310/0.570 (2/1 of 5)"


def test_more_figures(results: Results) -> None:
    table = more_table(results)
    assert table.columns == (
        *("ssae, image AUROC", "ssae, AUPRO"),
        *("ae-l2, image AUROC", "ae-l2, AUPRO"),
    )
    rows = _rows(table)
    assert list(rows) == [
        *("Carpet", "Grid", "Leather", "Bottle"),
        *("avg. textures", "avg. objects", "avg. all", "slate"),
    ]
    assert rows["Grid"] == ["0.700", "0.720", "failed", "failed"]
    assert rows["avg. textures"] == [
        *("0.700 (3 of 5)", "0.720 (3 of 5)", "0.350 (2 of 5)", "0.370 (2 of 5)")
    ]


def test_other_images_under_a_known_name(results: Results) -> None:
    results.images = {"carpet": (280, 28, 89), "grid": (3, 1, 2), "slate": (1, 1, 1)}
    rows = _rows(paper_table(2, results))
    assert {"Carpet", "Grid †", "slate"} <= set(rows)
    text = markdown(results)
    assert (
        "† grid has 3 images to train on and 1 good and 2 defective ones to test on, MVTec AD's "
        "has 264, 21 and 57" in text
    )
    assert "† carpet" not in text
    assert "† slate" not in text


def test_markdown_is_regular(results: Results) -> None:
    lines = markdown(results).splitlines()
    headers = [place for place, line in enumerate(lines) if line.startswith("| Category")]
    assert len(headers) == 4
    for place in headers:
        block = []
        for line in lines[place:]:
            if not line.startswith("|"):
                break
            block.append(line)
        assert len({len(line) for line in block}) == 1
        assert len({line.count("|") for line in block}) == 1
    text = "\n".join(lines)
    assert "- ae-l2 on grid failed: The disk is full." in text
    assert "- AE-SSIM, AE-L2: P. Bergmann" in text
    assert "Bergmann" not in markdown(results, with_sources=False)


def test_an_odd_name_is_no_markup(make_results: MakeResults) -> None:
    results = make_results({("ssae", "a|b"): 0.5}, categories=("a|b",))
    assert r"| a\|b " in markdown(results)
    assert "Still to come: ae-l2 on a|b." in markdown(results)


def _read(path: Path) -> dict[str, list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row[0]: row[1:] for row in csv.reader(file)}


def test_csv_files(results: Results, tmp_path: Path) -> None:
    tmp_path /= "out"
    write_tables(results, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("tables.md", "table2.csv", "table3.csv", "table4.csv", "more.csv")
    }
    second = _read(tmp_path / "table2.csv")
    assert second["Category"][-2:] == ["ssae (measured)", "ae-l2 (measured)"]
    assert second["Carpet"][:2] == ["0.67", "0.5"]
    assert second["Carpet"][-2:] == ["0.85", "0.45"]
    assert second["Grid"][-1] == "failed"
    assert second["Tile"][-2:] == ["", ""]
    assert second["avg. objects"][1] == "0.88"
    assert second["avg. objects, recomputed from the rows"][:3] == ["", "0.739", "0.56"]
    assert second["avg. textures, categories measured"][-2:] == ["3", "2"]
    fourth = _read(tmp_path / "table4.csv")
    assert fourth["Category"][:2] == ["AE-SSIM image", "AE-SSIM pixel"]
    assert fourth["Carpet"][-4:] == ["0.86", "0.87", "0.46", "0.47"]
    assert fourth["Grid"][-2:] == ["failed", "failed"]
    assert {len(row) for row in fourth.values()} == {12}
    more = _read(tmp_path / "more.csv")
    assert more["Category"][:4] == [f"ssae, {n}" for n in ("image AUROC", "AUPRO", "TPR", "TNR")]
    assert more["Carpet"][:4] == ["0.8", "0.82", "0.83", "0.84"]
    assert (tmp_path / "tables.md").read_text(encoding="utf-8") == markdown(results)


def test_study(make_results: MakeResults, tmp_path: Path) -> None:
    variants = corruption_study()
    found = {}
    for place, variant in enumerate(variants):
        found[variant.name, "tile"] = 0.01 * place
        found[variant.name, "slate"] = 0.5 if place else "It broke."
    results = make_results(found, methods=variants, study="corruption")
    mean, tile, slate = study_tables(results)
    assert mean.title == "Average over tile, slate"
    assert (tile.title, slate.title) == ("tile", "slate")
    assert [row.label for row in mean.rows] == [variant.name for variant in variants]
    assert mean.columns == ("image AUROC", "pixel AUROC", "AUPRO", "balanced accuracy")
    assert _rows(mean)["elastic/1"][0] == "0.000 (1 of 2)"
    assert _rows(mean)["elastic/3"] == ["0.255", "0.265", "0.275", "0.305"]
    assert _rows(slate)["elastic/1"] == ["failed"] * 4
    assert _rows(tile)["mixed+brightness/3"][0] == "0.150"
    tmp_path /= "out"
    write_tables(results, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"study.md", "study.csv"}
    lines = (tmp_path / "study.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:4] == [
        "variant,category,image_auroc,pixel_auroc,aupro,balanced_accuracy",
        "elastic/1,tile,0.0,0.01,0.02,0.05",
        "elastic/1,slate,failed,failed,failed,failed",
        "elastic/1,average,0.0,0.01,0.02,0.05",
    ]
    assert "elastic/3,average,0.255,0.265,0.275,0.305" in lines
    assert len(lines) == 1 + 16 * 3
    assert "elastic/1 on slate failed: It broke." in markdown(results)


def test_a_cell_without_figures_is_blank() -> None:
    assert str(Cell()) == str(Cell((None,))) == ""
    assert str(Cell((None, 0.5))) == "–/0.500"
