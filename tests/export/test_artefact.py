"""Opening artefacts: versions, files in them, and what was not written by this package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, RunError
from ssae_tf.export.artefact import Artefact, find, open_detector
from ssae_tf.export.build import Exported
from ssae_tf.threshold import anomaly_mask

Make = Callable[..., Exported]


@pytest.fixture
def copy(make: Make, tmp_path: Path) -> Path:
    """A TFLite artefact that may be changed."""
    return shutil.copytree(make("tflite").folder, tmp_path / "artefact")


def _change(folder: Path, **values: Any) -> None:
    path = folder / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_newest_version_is_taken(copy: Path, tmp_path: Path) -> None:
    for version in ("2", "10"):
        shutil.copytree(copy, tmp_path / "name" / version)
    for other in ("11", "12.failed", "x"):
        (tmp_path / "name" / other).mkdir()
    assert find(tmp_path / "name") == tmp_path / "name" / "10"
    assert find(tmp_path / "name" / "2") == tmp_path / "name" / "2"
    assert find(copy / "model.tflite") == copy
    assert find(tmp_path) is None
    assert find(tmp_path / "nowhere") is None


def test_runs_and_artefacts_are_told_apart(copy: Path, run_folder: Path) -> None:
    assert isinstance(open_detector(copy), Artefact)
    assert isinstance(open_detector(run_folder), Detector)
    with pytest.raises(RunError, match="no such run folder"):
        open_detector(copy / "nowhere")


def test_no_artefact(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no metadata\.json, so this is no exported artefact"):
        Artefact.load(tmp_path)


@pytest.mark.parametrize("change", ["cut", "bit", "gone", "empty"])
def test_damaged_files_never_reach_the_runtime(change: str, copy: Path) -> None:
    path = copy / "model.tflite"
    content = bytearray(path.read_bytes())
    if change == "gone":
        path.unlink()
    elif change == "bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2] if change == "cut" else b"")
    with pytest.raises(RunError, match=r"has no model\.tflite|is not the file that was exported"):
        Artefact.load(copy)


@pytest.mark.parametrize(
    "values",
    [
        {"schema_version": 2},
        {"format": "caffe"},
        {"runtime": "caffe"},
        {"precision": "int16"},
        {"threshold": None},
        {"min_area": "many"},
        {"files": 3},
        {"inputs": {}},
    ],
)
def test_metadata_of_something_else(values: dict[str, Any], copy: Path) -> None:
    _change(copy, **values)
    with pytest.raises(RunError, match=r"metadata\.json: (not the metadata|schema version)"):
        Artefact.load(copy)


@pytest.mark.parametrize("content", ["", "[]", "3", "null", "{}"])
def test_metadata_that_is_none(content: str, copy: Path) -> None:
    (copy / "metadata.json").write_text(content)
    with pytest.raises(RunError, match=r"metadata\.json: "):
        Artefact.load(copy)


def test_a_file_of_another_kind_under_the_right_hash(copy: Path) -> None:
    """What the runtime itself refuses."""
    from ssae_tf.export.artefact import file_hashes

    (copy / "model.tflite").write_bytes(b"no flatbuffer")
    _change(copy, files=file_hashes(copy))
    with pytest.raises(RunError, match=r"can't be loaded \("):
        Artefact.load(copy)


def test_failed_artefacts_are_refused(copy: Path) -> None:
    parity = json.loads((copy / "metadata.json").read_text())["parity"]
    _change(copy, parity=parity | {"passed": False})
    with pytest.raises(RunError, match="failed its check against the detector"):
        Artefact.load(copy)
    picture = np.zeros((8, 8, 3), np.uint8)
    assert Artefact.load(copy, even_failed=True).predict(picture).path == ""


def test_a_picture_of_another_size(copy: Path) -> None:
    inputs = json.loads((copy / "metadata.json").read_text())["inputs"]
    _change(copy, inputs=inputs | {"image_size": [16, 24]})
    artefact = Artefact.load(copy)
    assert artefact.predict(np.zeros((16, 24, 3), np.uint8)).anomaly_map.shape == (16, 24)
    with pytest.raises(DataError, match="24×16 pixels, the artefact was exported for 16×24 only"):
        artefact.predict(np.zeros((24, 16, 3), np.uint8))


def test_defects_end_at_the_outline(copy: Path, rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, (40, 48, 3)).astype(np.uint8)
    map_ = Artefact.load(copy).predict(picture).anomaly_map
    threshold, outline = (float(level) for level in np.quantile(map_, [0.95, 0.6]))
    _change(copy, outline=outline, min_area=1)
    result = Artefact.load(copy).predict(picture, threshold=threshold)
    expected = anomaly_mask(map_, threshold, 1, outline)
    np.testing.assert_array_equal(result.mask, expected)
    assert expected.sum() > (map_ > threshold).sum()


@pytest.mark.parametrize("picture", [np.zeros((4, 4, 4), np.uint8), np.full((4, 4), 2.0)])
def test_arrays_that_are_no_pictures(picture: np.ndarray, copy: Path) -> None:
    with pytest.raises(DataError, match="Expected"):
        Artefact.load(copy).predict(picture)


def test_signatures_that_are_missing(copy: Path) -> None:
    with pytest.raises(RunError, match="has no signature serve_bytes"):
        Artefact.load(copy).run(np.array([b""], object))
