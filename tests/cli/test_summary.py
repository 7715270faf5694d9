"""`ssae-tf summary`: the network layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Invoke = Callable[..., Any]


def _cells(lines: list[str]) -> list[list[str]]:
    """The table's cells, without its lines."""
    rows = [line.replace("┃", "│").split("│") for line in lines if set(line) & set("│┃")]
    return [[cell.strip() for cell in row[1:-1]] for row in rows]


def test_table_1(invoke: Invoke) -> None:
    done = invoke("summary")
    assert (done.code, done.err) == (0, [])
    assert "Table 1, width 1, images of 512×512" in done.out[0]
    _, *rows, total = _cells(done.out)
    # 3 × (two convolutions and a pooling), 4 SDC, 1, 3 × (1 transposed and 2), and the last.
    assert len(rows) == 9 + 4 + 1 + 9 + 1
    assert [row[:4] for row in (rows[0], rows[9], rows[14], rows[-1])] == [
        ["Conv.", "32", "3×3", "512×512×32"],
        ["SDC 1,2,4,8,16", "64×5", "5×5", "64×64×320"],
        ["Transp. Conv.", "256", "3×3/2", "128×128×256"],
        ["Conv.", "3", "1×1", "512×512×3"],
    ]
    assert total[0] == "Total"
    numbers = [int(row[4].replace(",", "")) for row in (*rows, total)]
    assert sum(numbers[:-1]) == numbers[-1]
    # Twice that are the 199 GFLOP of one forward pass; 512² of 32 channels are 32 MiB.
    assert (total[5], rows[0][6]) == ("99.321", "32.0")


def test_width_and_size(invoke: Invoke) -> None:
    done = invoke("summary", "--width", "0.25", "--size", "64")
    assert "width 0.25, images of 64×64" in done.out[0]
    assert _cells(done.out)[1][:4] == ["Conv.", "8", "3×3", "64×64×8"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--size", "100"], 1), (["--size", "8"], 1), (["--width", "0"], 1), (["--width", "x"], 2)],
)
def test_what_is_refused(arguments: list[str], code: int, invoke: Invoke) -> None:
    done = invoke("summary", *arguments)
    assert (done.code, done.out) == (code, [])
    assert done.error.startswith("Error: Invalid value for ")
    assert arguments[0].removeprefix("--") in done.error
