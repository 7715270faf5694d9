"""examples/quickstart.ipynb runs, from the first cell to the last, and holds no outputs.

Its cells are run in turn in this process: no Jupyter is needed, and none is started.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ssae_tf.config import DEFAULT_PRESET
from ssae_tf.detector import Detector


@pytest.fixture(scope="module")
def notebook(project_root: Path) -> dict[str, Any]:
    """What the file holds."""
    path = project_root / "examples" / "quickstart.ipynb"
    return json.loads(path.read_text(encoding="utf-8"))


def _code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_no_outputs_are_kept(notebook: dict[str, Any]) -> None:
    assert notebook["nbformat"] == 4
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert [cell["outputs"] for cell in _code(notebook)] == [[]] * len(_code(notebook))
    assert {cell["execution_count"] for cell in _code(notebook)} == {None}


def test_it_runs_from_a_folder_to_an_artefact(
    notebook: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in _code(notebook):
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["config"].preset == DEFAULT_PRESET
    assert isinstance(names["figure"], Figure)
    assert names["fitted"].metrics["n_test"] == 8
    assert (names["metrics"]["n_test"], names["metrics"]["pixel_auroc"]) == (4, None)
    assert (tmp_path / "quickstart" / "run" / "report.html").is_file()
    artefact = names["made"].folder
    assert artefact.parent == Path("quickstart/serving/tile")
    assert (artefact / "saved_model.pb").is_file()
    # 2 good ones, their corrupted copies, and all of them at another size.
    assert (names["made"].parity.passed, names["made"].parity.n) == (True, 8)
    assert capsys.readouterr().out.splitlines()[-1] == "True True"
    _check_the_default_preset(names["detector"], names["fitted"].metrics)


def _check_the_default_preset(detector: Detector, metrics: dict[str, Any]) -> None:
    """The gated network, tiny: what `fit` made opens, and judges any size."""
    assert detector.config.model.answer == "gated"
    assert detector.config.scoring.evidence == "gate"
    assert detector.calibration is not None
    assert detector.calibration.threshold == max(0.5, *detector.calibration.scores)
    assert detector.inspection_size == (64, 64)
    for size in ((64, 64), (41, 90)):
        image = np.random.default_rng(0).random((*size, 3), np.float32)
        result = detector.predict(image)
        assert result.anomaly_map.shape == size
        assert result.reconstruction is not None
        assert result.reconstruction.shape == (*size, 3)
        assert 0.0 < result.score <= 1.0
    assert 0.0 < metrics["projection"]["idempotence"] < 1.0
