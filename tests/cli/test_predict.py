"""`ssae-tf predict`: a line of JSON for every image, whatever becomes of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssae_tf.cli.predict import _names
from ssae_tf.detector import Detector
from ssae_tf.errors import RunError
from ssae_tf.runtime import threads

Invoke = Callable[..., Any]


@pytest.fixture
def images(sample_root: Path, tmp_path: Path) -> Path:
    """A folder with three images and a broken one, in two folders."""
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    test = sample_root / "tile" / "test"
    shutil.copy(test / "good" / "000.png", folder / "a.png")
    shutil.copy(test / "crack" / "000.png", folder / "b.png")
    shutil.copy(test / "stain" / "000.png", folder / "deep" / "a.png")
    (folder / "deep" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "notes.txt").write_text("")
    return folder


def _lines(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out]


def test_a_line_per_image(invoke: Invoke, run_folder: Path, images: Path) -> None:
    paths = [images / "b.png", images / "a.png"]
    done = invoke("predict", run_folder, *paths)
    assert (done.code, done.err) == (0, [])
    detector = Detector.load(run_folder)
    assert _lines(done) == [detector.predict(path).to_dict() for path in paths]
    assert [line["path"] for line in _lines(done)] == [str(path) for path in paths]


def test_a_failed_image_has_a_line_too(invoke: Invoke, run_folder: Path, images: Path) -> None:
    missing = images / "missing.png"
    done = invoke("predict", run_folder, missing, images, images / "notes.txt")
    assert (done.code, done.err) == (3, [f"{images}: 1 file left out: 1 .txt."])
    lines = _lines(done)
    names = ["missing.png", "a.png", "b.png", "a.png", "broken.jpg", "notes.txt"]
    assert [Path(line["path"]).name for line in lines] == names
    failed = [line for line in lines if "error" in line]
    assert [Path(line["path"]).name for line in failed] == [
        "missing.png",
        "broken.jpg",
        "notes.txt",
    ]
    for line in failed:
        assert set(line) == {"schema_version", "path", "error"}
        assert line["error"].startswith(line["path"])
    assert all("score" in line for line in lines if line not in failed)


def test_images_side_by_side(
    invoke: Invoke, run_folder: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same lines in the same order, and the same files."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    expected = invoke("predict", run_folder, images, "--out", alone)
    monkeypatch.setattr(threads, "side_by_side", lambda: 3)
    done = invoke("predict", run_folder, images, "--out", together)
    assert (done.code, done.out) == (expected.code, expected.out)
    names = sorted(path.name for path in alone.iterdir())
    assert sorted(path.name for path in together.iterdir()) == names
    for name in names:
        assert (together / name).read_bytes() == (alone / name).read_bytes()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RunError("The runtime gave up."), "The runtime gave up."),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero."),
        (MemoryError(), "MemoryError."),
    ],
)
def test_any_failure_of_an_image_is_its_line(
    invoke: Invoke,
    run_folder: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    sentence: str,
) -> None:
    inspect, large = Detector.inspect, images / "c.png"
    cv2.imwrite(str(large), np.zeros((80, 80, 3), np.uint8))

    def fail(detector: Detector, image: np.ndarray, *arguments: Any) -> Any:
        if len(image) == 80:
            raise error
        return inspect(detector, image, *arguments)

    monkeypatch.setattr(Detector, "inspect", fail)
    done = invoke("predict", run_folder, images / "a.png", large, images / "b.png")
    assert done.code == 3
    assert ["error" in line for line in _lines(done)] == [False, True, False]
    assert _lines(done)[1]["error"].startswith(f"{large}: {sentence}")


def test_out(invoke: Invoke, run_folder: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    done = invoke("predict", run_folder, images, "--out", out)
    assert done.code == 3
    kinds = ("map.npy", "map.png", "mask.png", "overlay.png")
    names = ("a", "b", "deep_a")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{name}_{kind}" for name in names for kind in kinds
    )
    detector = Detector.load(run_folder)
    for name, path in zip(names, ("a.png", "b.png", "deep/a.png"), strict=True):
        result = detector.predict(images / path)
        np.testing.assert_array_equal(np.load(out / f"{name}_map.npy"), result.anomaly_map)
        mask = cv2.imread(str(out / f"{name}_mask.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, result.mask * np.uint8(255))
        overlay = cv2.imread(str(out / f"{name}_overlay.png"))[..., ::-1]
        image = cv2.imread(str(images / path))[..., ::-1]
        assert overlay.shape == image.shape
        if not result.is_anomalous:
            np.testing.assert_array_equal(overlay, image)
        assert cv2.imread(str(out / f"{name}_map.png")).shape == image.shape


def test_files_that_can_not_be_written_are_lines(
    invoke: Invoke, run_folder: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "a_mask.png").mkdir(parents=True)
    done = invoke("predict", run_folder, images / "a.png", images / "b.png", "--out", out)
    assert done.code == 3
    failed, other = _lines(done)
    assert set(failed) == {"schema_version", "path", "error"}
    assert failed["error"].startswith(f"{images / 'a.png'}: {out / 'a_mask.png'}: can't be")
    assert "score" in other
    assert (out / "b_overlay.png").is_file()


@pytest.mark.parametrize("letter", ["x", "検"])
def test_long_names_are_shortened(
    invoke: Invoke, run_folder: Path, images: Path, tmp_path: Path, letter: str
) -> None:
    stem = letter * (251 // len(letter.encode()))
    for folder in (images, images / "deep"):
        shutil.copy(images / "a.png", folder / f"{stem}.png")
    named = [images / f"{stem}.png", images / "deep" / f"{stem}.png", images / "b.png"]
    done = invoke("predict", run_folder, *named, "--out", tmp_path / "out")
    assert done.code == 0
    assert ["score" in line for line in _lines(done)] == [True, True, True]
    assert len(list((tmp_path / "out").iterdir())) == 12


def test_too_large_images(
    invoke: Invoke, run_folder: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = images / "a.png"
    assert invoke("predict", run_folder, path, "--max-pixels", 64 * 64).code == 0
    done = invoke("predict", run_folder, path, "--max-pixels", 4095)
    assert done.code == 3
    limit = f"{path}: 64×64 pixels are 4,096, the limit is 4,095. --max-pixels raises it."
    assert _lines(done)[0]["error"] == limit
    assert invoke("predict", run_folder, path, "--max-pixels", 0).code == 2


@pytest.mark.parametrize("threshold", ["nan", "inf", "-1"])
def test_thresholds_that_decide_nothing(
    invoke: Invoke, run_folder: Path, images: Path, threshold: str
) -> None:
    done = invoke("predict", run_folder, images / "a.png", f"--threshold={threshold}")
    assert (done.code, done.out) == (2, [])
    assert "expected a finite number of at least 0" in done.error


def test_names_tell_equal_stems_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.png").symlink_to(tmp_path / "x" / "a.png")
    paths = [
        "x/a.png",
        "y/a.png",
        "a.bmp",
        "y/a.jpg",
        "x_a.png",
        "x/a.png",
        "link.png",
        "y/x_a.png",
    ]
    names = _names([Path(path) for path in paths])
    assert names[Path("x/a.png")] == "a"
    assert names[Path("y/a.png")] == "y_a"
    # A link has a name of its own.
    assert names[Path("link.png")] == "link"
    assert len(set(names.values())) == len(names) == 7
    # Down to the last resort.
    many = _names([Path(f"/a.{suffix}") for suffix in ("png", "jpg", "bmp")])
    assert list(many.values()) == ["a", "a_2", "a_3"]


def test_a_folder_without_images(invoke: Invoke, run_folder: Path, tmp_path: Path) -> None:
    done = invoke("predict", run_folder, tmp_path, "--out", tmp_path / "out")
    assert (done.code, done.out) == (1, [])
    assert done.error == f"Error: {tmp_path}: no images found."
    assert not (tmp_path / "out").exists()


def test_names_of_any_bytes(invoke: Invoke, run_folder: Path, images: Path, tmp_path: Path) -> None:
    names = ["Prüfling.png", os.fsdecode(b"\xff.png")]
    for name in names:
        shutil.copy(images / "a.png", images / name)
    done = invoke("predict", run_folder, *(images / name for name in names), "--out", tmp_path)
    assert done.code == 0
    assert "Prüfling.png" in done.out[0]
    assert [line["path"] for line in _lines(done)] == [str(images / name) for name in names]
    assert (tmp_path / "Prüfling_map.png").is_file()


def test_a_place_that_can_not_be_written(
    invoke: Invoke, run_folder: Path, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = invoke("predict", run_folder, images, "--out", tmp_path / "file")
    assert (done.code, done.out) == (1, [])
    assert done.error.startswith(f"Error: {tmp_path / 'file'}: can't be made (")


def test_the_run_comes_first(invoke: Invoke, run_folder: Path, images: Path) -> None:
    done = invoke("predict", images / "a.png", run_folder)
    assert (done.code, done.out) == (1, [])
    assert done.error == f"Error: {images / 'a.png'}: no such run folder."
    assert invoke("predict", run_folder).code == 2
    assert invoke("predict").code == 2


def test_broken_weights_are_no_matter_of_an_image(
    invoke: Invoke, run_folder: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssae_tf.errors import RunError

    def fail(*_: object) -> None:
        raise RunError("The network answers with NaN.")

    monkeypatch.setattr(Detector, "inspect", fail)
    done = invoke("predict", run_folder, images)
    assert (done.code, done.out) == (1, [])
    assert done.error == "Error: The network answers with NaN."


def test_quiet(
    invoke: Invoke, run_folder: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A line is due after every image.
    monkeypatch.setattr("ssae_tf.progress._LINE_INTERVAL", 0.0)
    assert invoke("predict", run_folder, images / "a.png").err[0].startswith("Inspecting: 1/1")
    assert invoke("predict", run_folder, images / "a.png", "--quiet").err == []
