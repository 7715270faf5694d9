"""The published figures: those of the paper, and which of its averages its rows contradict."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ssae_tf.paper_tables import published

# The paper's column -> ours.
NAMES = {
    "AESSIM": "AE-SSIM",
    "AEL2": "AE-L2",
    "CAVGA-Du": "CAVGA-D_u",
    "Ours": "Ours (paper)",
}


@pytest.fixture(scope="module")
def paper(project_root: Path) -> str:
    path = project_root.parent / "shared" / "paper" / "ssae-v1.txt"
    if not path.is_file():
        pytest.skip(f"the paper's text is not in {path}")
    return path.read_text(encoding="utf-8")


def _printed(paper: str, number: int) -> tuple[list[tuple[str, int | None]], dict[str, list]]:
    """Columns (name, reference) and rows of a table, as the text has them."""
    lines = iter(paper.splitlines())
    next(line for line in lines if re.match(rf"TABLE {number}\b", line))
    header = next(line for line in lines if line.startswith("Category"))
    columns = []
    for text in header.split("\t")[1:]:
        reference = re.search(r"\[(\d+)\]", text)
        name = re.sub(r"\[\d+\]|</?sub>|[$_{} ]", "", text)
        columns.append((NAMES.get(name, name), int(reference[1]) if reference else None))
    rows = {}
    for line in lines:
        if not line.strip():
            break
        label, *cells = re.sub(r"</?b>", "", line).split("\t")
        rows[label.lower().replace("avg. ", "").replace(" ", "_")] = [
            tuple(None if part.strip() == "-" else float(part) for part in cell.split("/"))
            for cell in cells
        ]
    return columns, rows


@pytest.mark.parametrize("number", [2, 3, 4])
def test_the_figures_are_the_papers(number: int, paper: str) -> None:
    table = published.load().tables[number]
    columns, rows = _printed(paper, number)
    assert [(source.name, source.reference) for source in table.sources] == columns
    assert {**table.rows, **table.averages} == {name: tuple(row) for name, row in rows.items()}
    # The order is the paper's too.
    assert [name for name in rows if name in table.rows] == list(table.rows)
    assert len(rows) == 18


def test_the_references_are_the_papers(paper: str) -> None:
    known = published.load()
    printed = dict(re.findall(r"^- \[(\d+)\] (.+?)\s*$", paper.replace("*", ""), re.MULTILINE))
    used = {s.reference for t in known.tables.values() for s in t.sources if s.reference}
    assert used <= set(known.references)
    for number, text in known.references.items():
        assert text == printed[str(number)]
    assert "Self-Supervised Training with Autoencoders for Visual Anomaly Detection" in paper
    assert known.paper.endswith("Visual Anomaly Detection,” arXiv:2206.11723v1")


def test_every_category_has_its_row() -> None:
    known = published.load()
    assert [len(group) for group in known.groups.values()] == [5, 10]
    assert set(known.images) == set(known.categories)
    # MVTec AD: 3629 images to train on, 467 good and 1258 defective ones to test on.
    totals = [sum(counts) for counts in zip(*known.images.values(), strict=True)]
    assert totals == [3629, 467, 1258]
    for table in known.tables.values():
        assert tuple(table.rows) == known.categories
        assert tuple(table.averages) == ("textures", "objects", "all")
        for row in (*table.rows.values(), *table.averages.values()):
            assert [len(cell) for cell in row] == [len(table.metrics)] * len(table.sources)


def test_contradicted_averages() -> None:
    known = published.load()
    groups = {**known.groups, "all": known.categories}
    found = {}
    for number, table in known.tables.items():
        for group, categories in groups.items():
            for column, source in enumerate(table.sources):
                means = table.recomputed(group, categories, column)
                if means is not None:
                    found[number, group, source.name] = means
    # By hand: the rows of AE-L2's objects sum up to 7.39, AnoGAN's to 5.60; textures 3.23 and 2.71.
    assert found == {
        (2, "objects", "AE-L2"): pytest.approx((0.739,)),
        (2, "objects", "AnoGAN"): pytest.approx((0.560,)),
        (2, "all", "AE-L2"): pytest.approx((10.62 / 15,)),
        (2, "all", "AnoGAN"): pytest.approx((8.31 / 15,)),
    }
