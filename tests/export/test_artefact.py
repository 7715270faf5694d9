"""Opening artefacts: versions, files in them, and what was not written by this package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutations import seal
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, InputError, RunError
from ssae_tf.export.artefact import Artefact, find, open_detector
from ssae_tf.export.build import Exported
from ssae_tf.export.manifest import write_sums
from ssae_tf.scoring.threshold import anomaly_mask

Make = Callable[..., Exported]


@pytest.fixture
def copy(make: Make, tmp_path: Path) -> Path:
    """A TFLite artefact that may be changed."""
    return shutil.copytree(make("tflite").folder, tmp_path / "artefact")


def _only(name: str, text: str) -> str:
    """One line of a list of hashes."""
    return "".join(line for line in text.splitlines(keepends=True) if line.endswith(f"  {name}\n"))


def _change(folder: Path, **values: Any) -> None:
    """Changes the metadata as somebody does who may write to the folder, with the hashes."""
    path = folder / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    (write_sums if "files" in values else seal)(folder)


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


_ENGINE = {"kind": "engine", "module": "os", "version": "1"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schema_version": 4, "new": 1}, "was made by a newer version of ssae_tf"),
        ({"schema_version": 1}, "was made by an older version of ssae_tf"),
        ({"format": "caffe"}, "expected one of the formats savedmodel, tflite"),
        ({"format": 3}, "`format` should be a valid string"),
        ({"runtime": "caffe"}, "expected a runtime of the format tflite"),
        ({"runtime": "savedmodel"}, "expected a runtime of the format tflite"),
        ({"precision": "int16"}, "expected a precision of the format tflite"),
        ({"signatures": ["other"]}, "expected signatures of serving_default"),
        ({"threshold": None}, "`threshold` should be a valid number"),
        ({"threshold": float("nan")}, "`threshold` should be a finite number"),
        ({"threshold": float("inf")}, "`threshold` should be a finite number"),
        ({"threshold": -1.0}, "`threshold` should be greater than or equal to 0"),
        ({"threshold": "0.5"}, "`threshold` should be a valid number"),
        ({"min_area": "many"}, "`min_area` should be a valid integer"),
        ({"min_area": 0}, "`min_area` should be greater than or equal to 1"),
        ({"outline": float("nan")}, "`outline` should be a finite number"),
        ({"outline": 0.0}, "`outline` should be greater than 0"),
        ({"outline": 1.5}, "`outline` should be less than or equal to 1"),
        ({"good_scores": [-1.0]}, "`good_scores.0` should be greater than or equal to 0"),
        ({"files": {}}, "its files are not those of SHA256SUMS"),
        ({"files": {"../x": "0" * 64}}, "its files are not those of SHA256SUMS"),
        ({"files": 3}, "`files` should be a valid dictionary"),
        ({"inputs": {}}, "has no `inputs.layout`"),
        ({"run_hash": "0"}, "`run_hash` should match pattern"),
        (
            {"format": "trt", "precision": "fp32", "runtime": "tensorrt", "builder": _ENGINE},
            "expected a builder of tensorrt",
        ),
        (
            {"format": "trt", "precision": "fp32", "runtime": "tensorrt"},
            "expected a builder of tensorrt",
        ),
    ],
)
def test_metadata_of_something_else(values: dict[str, Any], message: str, copy: Path) -> None:
    _change(copy, **values)
    with pytest.raises(RunError) as caught:
        Artefact.load(copy)
    assert str(caught.value).startswith(f"{copy / 'metadata.json'}: {message}")


@pytest.mark.parametrize("name", ["metadata.json", "parity.json"])
def test_an_edited_record_is_damage(name: str, copy: Path) -> None:
    (copy / name).write_text((copy / name).read_text().replace("0", "1", 1))
    with pytest.raises(RunError, match=rf"{name}: (is not the file that was exported|.* version)"):
        Artefact.load(copy)


def test_hashes_are_those_of_sha256sum(copy: Path) -> None:
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "SHA256SUMS: line 1 is no hash and new path: ''"),
        (lambda text: "a b\n", "SHA256SUMS: line 1 is no hash and new path: 'a b'"),
        (lambda text: text + text, "SHA256SUMS: line 9 is no hash and new path"),
        (lambda text: text.replace("  ", " *"), "SHA256SUMS: line 1 is no hash"),
        (lambda text: _only("metadata.json", text), "doesn't list model.tflite, so it is incompl"),
        (lambda text: text + f"{'0' * 64}  ../other\n", "../other lies outside of the folder"),
        (lambda text: text + f"{'0' * 64}  /etc/passwd\n", "/etc/passwd lies outside of the f"),
        (lambda text: text + f"{'0' * 64}  a\0b\n", "lies outside of the folder"),
        (lambda text: text + f"{'0' * 64}  {'a' * 300}\n", r"has no a+, so the artefact"),
        (lambda text: text + f"{'0' * 64}  .\n", "lies outside of the folder"),
        (lambda text: text + f"{'0' * 64}  other\n", "has no other, so the artefact is incomple"),
    ],
)
def test_lists_of_hashes_that_do_not_hold(
    change: Callable[[str], str], message: str, copy: Path
) -> None:
    path = copy / "SHA256SUMS"
    path.write_text(change(path.read_text()))
    with pytest.raises(RunError, match=message):
        Artefact.load(copy)


def test_without_hashes_there_is_no_artefact(copy: Path) -> None:
    (copy / "SHA256SUMS").unlink()
    with pytest.raises(RunError, match="has no SHA256SUMS, so the artefact is incomplete"):
        Artefact.load(copy)
    (copy / "SHA256SUMS").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="SHA256SUMS: is no list of hashes"):
        Artefact.load(copy)


def test_listed_files_do_not_lead_out_of_the_folder(copy: Path, tmp_path: Path) -> None:
    (copy / "model.tflite").rename(tmp_path / "elsewhere")
    (copy / "model.tflite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"model\.tflite lies outside of the folder"):
        Artefact.load(copy)
    (copy / "model.tflite").unlink()
    (copy / "model.tflite").symlink_to("model.tflite")
    with pytest.raises(RunError, match=r"model\.tflite lies outside|has no model\.tflite"):
        Artefact.load(copy)


def test_links_inside_the_folder_will_do(copy: Path, tmp_path: Path) -> None:
    """As volumes of Kubernetes have them."""
    (copy / "..data").mkdir()
    (copy / "model.tflite").rename(copy / "..data" / "model.tflite")
    (copy / "model.tflite").symlink_to(Path("..data") / "model.tflite")
    (tmp_path / "link").symlink_to(copy)
    assert Artefact.load(tmp_path / "link").metadata["format"] == "tflite"


@pytest.mark.parametrize("name", ["model_u8.onnx", "saved_model.pb", "variables/variables.index"])
def test_files_that_a_loader_would_read_are_listed(name: str, copy: Path) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"")
    with pytest.raises(RunError, match=f"{name}: is not in SHA256SUMS, so it is of another export"):
        Artefact.load(copy)


def test_other_peoples_files_are_let_be(copy: Path) -> None:
    for name in ("README.txt", ".DS_Store", "model.engine"):
        (copy / name).write_bytes(b"")
    assert Artefact.load(copy).metadata["format"] == "tflite"


@pytest.mark.parametrize("path", ["a" * 300, "\0"])
def test_paths_that_can_not_be_looked_at(path: str) -> None:
    with pytest.raises((RunError, InputError)):
        open_detector(path)


def test_pipes_are_not_waited_for(copy: Path) -> None:
    (copy / "model.tflite").unlink()
    os.mkfifo(copy / "model.tflite")
    with pytest.raises(RunError, match=r"has no model\.tflite, so the artefact is incomplete"):
        Artefact.load(copy)


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), -0.1, "0.1"])
def test_a_given_threshold_is_a_level(threshold: Any, copy: Path) -> None:
    with pytest.raises(InputError, match="Argument `threshold` should be"):
        Artefact.load(copy).predict(np.zeros((8, 8, 3), np.uint8), threshold=threshold)


@pytest.mark.parametrize("content", ["", "[]", "3", "null", "{}"])
def test_metadata_that_is_none(content: str, copy: Path) -> None:
    (copy / "metadata.json").write_text(content)
    with pytest.raises(RunError, match=r"metadata\.json: "):
        Artefact.load(copy)


def test_a_file_of_another_kind_under_the_right_hash(copy: Path) -> None:
    """What the runtime itself refuses."""
    (copy / "model.tflite").write_bytes(b"no flatbuffer")
    seal(copy)
    with pytest.raises(RunError, match=r"can't be loaded \("):
        Artefact.load(copy)


def test_failed_artefacts_are_refused(copy: Path) -> None:
    parity = json.loads((copy / "metadata.json").read_text())["parity"]
    # What has not been compared has not passed.
    for changed in (None, parity | {"passed": False}):
        _change(copy, parity=changed)
        with pytest.raises(RunError, match="failed its check against the detector"):
            Artefact.load(copy)
    image = np.zeros((8, 8, 3), np.uint8)
    assert Artefact.load(copy, even_failed=True).predict(image).path == ""


def test_an_image_of_another_size(copy: Path) -> None:
    inputs = json.loads((copy / "metadata.json").read_text())["inputs"]
    _change(copy, inputs=inputs | {"image_size": [16, 24]})
    artefact = Artefact.load(copy)
    assert artefact.predict(np.zeros((16, 24, 3), np.uint8)).anomaly_map.shape == (16, 24)
    with pytest.raises(DataError, match="24×16 pixels, the artefact was exported for 16×24 only"):
        artefact.predict(np.zeros((24, 16, 3), np.uint8))


def test_defects_end_at_the_outline(copy: Path, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (40, 48, 3)).astype(np.uint8)
    map_ = Artefact.load(copy).predict(image).anomaly_map
    threshold, outline = (float(level) for level in np.quantile(map_, [0.95, 0.6]))
    _change(copy, outline=outline, min_area=1)
    result = Artefact.load(copy).predict(image, threshold=threshold)
    expected = anomaly_mask(map_, threshold, 1, outline)
    np.testing.assert_array_equal(result.mask, expected)
    assert expected.sum() > (map_ > threshold).sum()


def test_signatures_that_are_missing(copy: Path) -> None:
    with pytest.raises(RunError, match="has no signature serve_bytes"):
        Artefact.load(copy).run(np.array([b""], object))
