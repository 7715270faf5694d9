"""Golden images of a run and of its artefacts, on the machine that made them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ssae_tf.cli.main import run as run_command
from ssae_tf.errors import RunError
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import Exported


def test_fit_writes_them_into_the_run(
    run_folder: Path, capsys: pytest.CaptureFixture[str], shared_network: None
) -> None:
    assert run_command(["selftest", str(run_folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_an_artefact_has_them_and_passes(
    make: Callable[..., Exported], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make("tflite").folder
    assert run_command(["selftest", str(folder)]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4
    assert "4 golden images: scores differ by " in captured.err
    assert {"golden/golden.json", "golden/normal_0.png"} <= set(
        json.loads((folder / "metadata.json").read_text())["files"]
    )


def test_calibration_scores_are_those_of_the_run(
    make: Callable[..., Exported], run_folder: Path
) -> None:
    scores = json.loads((run_folder / "calibration.json").read_text())["scores"]
    assert Artefact.load(make("tflite").folder).good_scores == sorted(scores)


def test_an_altered_golden_image_is_an_altered_artefact(
    make: Callable[..., Exported], tmp_path: Path
) -> None:
    copy = shutil.copytree(make("tflite").folder, tmp_path / "copy")
    (copy / "golden" / "more.png").write_bytes(b"")
    with pytest.raises(RunError, match=r"more\.png: is not in SHA256SUMS"):
        Artefact.load(copy)
    (copy / "golden" / "more.png").unlink()
    (copy / "golden" / "normal_0.png").write_bytes(b"")
    with pytest.raises(RunError, match=r"normal_0\.png: is not the file that was exported"):
        Artefact.load(copy)
