"""Every row of Table 1 against the paper, and `ssae-tf summary`'s table."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from ssae_tf.config import ModelConfig
from ssae_tf.models import summary
from ssae_tf.models.summary import rows, summary_table

SDC = ("SDC 1,2,4,8,16", "64×5", "5×5", (64, 64, 320))
TABLE_1 = [
    ("Conv.", "32", "3×3", (512, 512, 32)),
    ("Conv.", "32", "3×3", (512, 512, 32)),
    ("MaxPool.", "", "2×2/2", (256, 256, 32)),
    ("Conv.", "64", "3×3", (256, 256, 64)),
    ("Conv.", "64", "3×3", (256, 256, 64)),
    ("MaxPool.", "", "2×2/2", (128, 128, 64)),
    ("Conv.", "128", "3×3", (128, 128, 128)),
    ("Conv.", "128", "3×3", (128, 128, 128)),
    ("MaxPool.", "", "2×2/2", (64, 64, 128)),
    SDC,
    SDC,
    SDC,
    SDC,
    ("Conv.", "256", "3×3", (64, 64, 256)),
    ("Transp. Conv.", "256", "3×3/2", (128, 128, 256)),
    ("Conv.", "256", "3×3", (128, 128, 256)),
    ("Conv.", "128", "3×3", (128, 128, 128)),
    ("Transp. Conv.", "128", "3×3/2", (256, 256, 128)),
    ("Conv.", "128", "3×3", (256, 256, 128)),
    ("Conv.", "64", "3×3", (256, 256, 64)),
    ("Transp. Conv.", "64", "3×3/2", (512, 512, 64)),
    ("Conv.", "64", "3×3", (512, 512, 64)),
    ("Conv.", "32", "3×3", (512, 512, 32)),
    ("Conv.", "3", "1×1", (512, 512, 3)),
]


@pytest.fixture(scope="module")
def full():
    return rows(ModelConfig(), 512)


def test_every_row_at_512(full):
    assert [(row.layer, row.filters, row.kernel, row.output) for row in full] == TABLE_1


def test_the_rows_here_are_those_of_the_paper(project_root):
    paper = project_root.parent / "shared" / "paper" / "ssae-v1.txt"
    if not paper.is_file():
        pytest.skip(f"no {paper}")
    lines = paper.read_text(encoding="utf-8").partition("TABLE 1")[2].splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("Layer Type")) + 1
    found = []
    for line in lines[start:]:
        if not line:
            break
        text = re.sub(r"\\text\{SDC\}_\{([\d,]+)\}", r"SDC \1", line.replace("$", ""))
        layer, filters, kernel, output = text.replace(r"\times", "×").split("\t")
        filters, kernel = (cell.replace(" ", "") for cell in (filters, kernel))
        found.append((layer, filters, kernel, tuple(int(side) for side in output.split("×"))))
    assert found == TABLE_1


def test_parameters_of_the_rows(full):
    parameters = {(row.layer, row.filters, row.output): row.parameters for row in full}
    # Kernel and γ, β; pooling has none; the last layer has a bias instead.
    assert full[0].parameters == 9 * 3 * 32 + 2 * 32
    assert parameters["MaxPool.", "", (64, 64, 128)] == 0
    assert full[9].parameters == 25 * 128 * 320 + 2 * 320
    assert parameters["Transp. Conv.", "128", (256, 256, 128)] == 9 * 128 * 128 + 2 * 128
    assert full[-1].parameters == 32 * 3 + 3
    assert sum(row.parameters for row in full) / 1e6 == pytest.approx(11.7, abs=0.05)


def test_multiply_adds_and_memory(full):
    """Twice the multiply-adds are the 199 GFLOP of an image of 512²."""
    assert full[0].multiply_adds == 512 * 512 * 9 * 3 * 32
    assert full[2].multiply_adds == 0
    assert full[9].multiply_adds == 64 * 64 * 5 * 25 * 128 * 64
    # Every pixel of its 64 × 64 is multiplied with the whole kernel.
    assert full[14].multiply_adds == 64 * 64 * 9 * 256 * 256
    parts = [
        2 * sum(row.multiply_adds for row in part) / 1e9
        for part in (full[:9], full[9:13], full[13:])
    ]
    assert parts == pytest.approx([19.8, 71.3, 107.5], abs=0.1)
    assert full[2].activation_bytes == 256 * 256 * 32 * 4
    assert full[9].activation_bytes == 64 * 64 * 320 * 4


def test_other_widths_and_sizes():
    found = rows(ModelConfig(width=0.125), 64)
    for row, (layer, filters, kernel, (height, width, channels)) in zip(
        found, TABLE_1, strict=True
    ):
        scale = 1 if channels == 3 else 8
        assert (row.layer, row.kernel) == (layer, kernel)
        assert row.output == (height // 8, width // 8, channels // scale)
        expected = re.sub(r"^\d+", lambda match: str(int(match[0]) // scale), filters)  # noqa: B023
        assert row.filters == expected


def test_the_printed_table(monkeypatch):
    config = ModelConfig(width=0.0625)
    found = rows(config, 64)
    monkeypatch.setattr(summary, "rows", lambda *_: found)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(summary_table(config, 64))
    text = capture.get()
    assert "width 0.0625, images of 64×64" in text
    lines = [re.sub(r"[^\w.,×/]+", " ", line).strip() for line in text.splitlines()]
    assert lines.count("SDC 1,2,4,8,16 4×5 5×5 8×8×20 10,040 0.001 0.0") == 3
    assert "Transp. Conv. 8 3×3/2 32×32×8 592 0.000 0.0" in lines
    parameters, products = (
        sum(getattr(row, name) for row in found) for name in ("parameters", "multiply_adds")
    )
    assert any(line.startswith(f"Total {parameters:,} {products / 1e9:.3f} ") for line in lines)
