"""`ssae-tf preview`: a sheet of corrupted images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssae_tf import preview as preview_module

Invoke = Callable[..., Any]
STAGES = 'training.stages=[{"size": 32, "batch_size": 1, "steps": 1}]'


def test_a_sheet(invoke: Invoke, sample_root: Path, tmp_path: Path) -> None:
    arguments = ["preview", "--data", sample_root, "--category", "tile", "--preset", "quick"]
    sheets = {}
    for name, more in [
        ("a", []),
        ("same", []),
        ("seed", ["--seed", "5"]),
        ("rows", ["--rows", "1"]),
        ("whole", ["--set", "corruption.share=0"]),
    ]:
        out = tmp_path / name
        done = invoke(*arguments, "--set", STAGES, "--rows", "2", "--out", out, *more)
        assert (done.code, done.out, done.err) == (0, [str(out / "preview.png")], [])
        sheets[name] = cv2.imread(done.out[0])
    np.testing.assert_array_equal(sheets["same"], sheets["a"])
    assert (sheets["seed"] != sheets["a"]).any()
    assert sheets["rows"].shape[0] < sheets["a"].shape[0]
    # X and X̂ are the first two columns: below the header they differ, in every row.
    sheet = sheets["a"][60:]
    quarter = sheet.shape[1] // 4
    for row in np.array_split(sheet, 2):
        assert (row[:, :quarter] != row[:, quarter : 2 * quarter]).any()
    # Nothing is corrupted for a plain autoencoder: M, the third column, has one colour.
    height, width = sheets["whole"].shape[:2]
    middle = sheets["whole"][height // 4 : height // 3, round(0.6 * width) : round(0.65 * width)]
    assert np.ptp(middle) == 0


def test_arguments_arrive(
    invoke: Invoke, sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def preview(*arguments: Any, reporter: Any) -> Path:
        calls.append((*arguments, reporter.quiet))
        return tmp_path / "preview.png"

    monkeypatch.setattr(preview_module, "preview", preview)
    done = invoke("preview", "--data", sample_root, "--out", tmp_path)
    assert "--preset paper" in done.error
    invoke(
        *("preview", "--data", sample_root, "--category", "tile", "--out", tmp_path),
        *("--rows", "3", "--set", "corruption.cut_out=0.5", "--quiet"),
    )
    first, second = calls
    assert (first[0], first[1], first[3:]) == (sample_root, None, (tmp_path, 8, False))
    assert (second[0], second[1], second[3:]) == (sample_root, "tile", (tmp_path, 3, True))
    assert second[2].corruption.cut_out == 0.5
    assert second[2].category == "tile"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Missing option '--out'"),
        (["--out", "out", "--rows", "0"], 2, "0 is not in the range"),
        (["--out", "out", "--category", "slate"], 1, "no category 'slate'"),
        (["--out", "out", "--set", "a=b"], 1, "Unknown setting `a`."),
    ],
)
def test_what_is_refused(
    arguments: list[str],
    code: int,
    message: str,
    invoke: Invoke,
    sample_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("preview", "--data", sample_root, *arguments)
    assert (done.code, done.out) == (code, [])
    assert message in done.error
    assert list(tmp_path.iterdir()) == []
