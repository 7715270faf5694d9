"""`ssae-tf export` and `predict` of what it makes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssae_tf.detector import Detector
from ssae_tf.export import build, formats, make
from ssae_tf.export.formats.tensorrt import Profile
from ssae_tf.export.parity import Parity

Invoke = Callable[..., Any]


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Has nothing exported; gives what would be."""
    calls: list[dict[str, Any]] = []

    def export(run: Path, request: make.Request, **rest: Any) -> build.Exported:
        calls.append({"run": run, "request": request, **rest})
        return build.Exported(Path("made/here"), Parity(1.0, passed=True), "", 1.0)

    monkeypatch.setattr(build, "export", export)
    return calls


def test_a_saved_model_of_one_size(
    invoke: Invoke, run_folder: Path, sample_root: Path, tmp_path: Path
) -> None:
    """With all that a SavedModel may have; then `predict` of images that fit and that do not."""
    done = invoke(
        *("export", run_folder, "--format", "savedmodel", "--out", tmp_path / "my tile"),
        *("--image-size", 64, 64, "--no-reconstruction", "--warmup", 4),
    )
    assert done.code == 0, done.err
    folder = tmp_path / "my tile" / "1"
    assert done.out[-1] == str(folder)
    assert 'name: "my tile"' in "\n".join(done.out)
    assert done.out[-2].startswith("docker run ")
    assert "-p 127.0.0.1:8501:8501" in done.out[-2]
    assert "6 images of 64×64: map differs by" in done.err[-2]
    assert done.err[-1].startswith("This command serves this machine only.")
    assert {path.name for path in folder.iterdir()} >= {
        "saved_model.pb",
        "metadata.json",
        "parity.json",
        "SHA256SUMS",
        "assets.extra",
    }
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["inputs"]["image_size"] == [64, 64]
    assert "reconstruction" not in metadata["outputs"]

    image = sample_root / "tile" / "test" / "crack" / "000.png"
    small = tmp_path / "small.png"
    import cv2

    assert cv2.imwrite(str(small), np.zeros((8, 9, 3), np.uint8))
    done = invoke("predict", tmp_path / "my tile", image, small, "--out", tmp_path / "found")
    assert done.code == 3
    lines = [json.loads(line) for line in done.out]
    expected = Detector.load(run_folder).predict(image).to_dict()
    for defect in expected["defects"]:
        defect |= {name: pytest.approx(defect[name], abs=1e-4) for name in ("peak", "mean")}
    assert lines[0] == expected | {"score": pytest.approx(expected["score"], abs=1e-4)}
    assert lines[1]["error"] == (f"{small}: 8×9 pixels, the artefact was exported for 64×64 only.")
    assert (tmp_path / "found" / "000_map.npy").is_file()


def test_a_threshold_for_predict(invoke: Invoke, run_folder: Path, sample_root: Path) -> None:
    image = sample_root / "tile" / "test" / "crack" / "000.png"
    score = Detector.load(run_folder).predict(image).score
    for threshold in (0.9 * score, 1.1 * score):
        done = invoke("predict", run_folder, image, "--threshold", threshold)
        line = json.loads(done.out[0])
        assert (line["threshold"], line["is_anomalous"]) == (threshold, score > threshold)
        assert bool(line["defects"]) == (score > threshold)


def test_what_is_missing_is_told(
    invoke: Invoke, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build.Exported(Path("made/here"), Parity(1.0, passed=True), "No engine was built.", 1.0)
    monkeypatch.setattr(build, "export", lambda *_, **__: made)
    done = invoke("export", run_folder, "--format", "trt", "--quiet")
    assert (done.code, done.out, done.err) == (3, ["made/here"], ["Warning: No engine was built."])


def test_options_arrive(
    invoke: Invoke, run_folder: Path, requests: list[dict[str, Any]], sample_root: Path
) -> None:
    done = invoke(
        *("export", run_folder, "--format", "trt", "--precision", "fp16", "--out", "there"),
        *("--image-size", 32, 48, "--no-reconstruction", "--seed", 5, "--time-limit", 60),
        *("--min-shape", 1, 8, 8, "--opt-shape", 2, 16, 16, "--max-shape", 3, 32, 32),
        *("--overwrite", "--keep-failed", "--data", sample_root / "tile" / "train" / "good"),
    )
    assert (done.code, done.out) == (0, ["made/here"])
    (call,) = requests
    assert call["run"] == run_folder
    assert call["request"] == make.Request(
        "trt",
        precision="fp16",
        image_size=(32, 48),
        has_reconstruction=False,
        profile=Profile((1, 8, 8), (2, 16, 16), (3, 32, 32)),
        seed=5,
        time_limit=60.0,
    )
    assert call["data"] == sample_root / "tile" / "train" / "good"
    assert (call["out"], call["overwrite"], call["keep_failed"]) == (Path("there"), True, True)


def test_defaults(invoke: Invoke, run_folder: Path, requests: list[dict[str, Any]]) -> None:
    assert invoke("export", run_folder, "--format", "tflite").code == 0
    (call,) = requests
    assert call["request"] == make.Request("tflite")
    assert call["data"] is None
    assert (call["out"], call["overwrite"], call["keep_failed"]) == (None, False, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option --format: one of savedmodel, tflite"),
        (["--format", "caffe"], "'caffe' is not one of"),
        (["--format", "onnx", "--warmup", "3"], "--warmup is for --format savedmodel"),
        (["--format", "onnx", "--min-shape", "1", "8", "8"], "go together"),
        (["--format", "trt", "--min-shape", "1", "8", "8"], "go together"),
        (["--format", "onnx", "--image-size", "0", "8"], "0 is not in the range"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, invoke: Invoke, run_folder: Path) -> None:
    done = invoke("export", run_folder, *arguments)
    assert (done.code, done.out) == (2, [])
    assert message in done.error


def _shapes(*shapes: tuple[int, int, int]) -> list[str]:
    named = zip(("--min-shape", "--opt-shape", "--max-shape"), shapes, strict=True)
    return [str(part) for name, shape in named for part in (name, *shape)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "onnx", "--precision", "int8"], "--format onnx has the precisions float32."),
        (["--format", "onnx", "--out", "taken"], "taken: exists and is no artefact"),
        (
            ["--format", "trt", *_shapes((2, 8, 8), (1, 8, 8), (1, 8, 8))],
            "smallest ≤ usual ≤ largest",
        ),
        (["--format", "onnx", "--data", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_one_sentence(
    arguments: list[str],
    message: str,
    invoke: Invoke,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    done = invoke("export", run_folder, *arguments, "--quiet")
    assert (done.code, done.out, len(done.err)) == (1, [], 1)
    assert message in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("name", ["weights.npz", "calibration.json", "split.json"])
def test_runs_that_are_incomplete(
    name: str, invoke: Invoke, run_folder: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    (run / name).unlink()
    done = invoke("export", run, "--format", "onnx", "--quiet")
    assert (done.code, done.out, len(done.err)) == (1, [], 1)
    assert name in done.error
    assert not (run / "export").exists()


def test_the_list(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = dataclasses.replace(formats.FORMATS["tflite"], packages=("no_such_package",))
    monkeypatch.setitem(formats.FORMATS, "tflite", absent)
    done = invoke("export", "--list")
    assert (done.code, done.err) == (0, [])
    rows = {line.split()[0]: line for line in done.out if line.split()}
    assert set(rows) >= {"format", *formats.FORMATS}
    assert rows["savedmodel"].rstrip().endswith("works")
    assert "pip install 'ssae-tf[tflite]'" in " ".join("\n".join(done.out).split())
