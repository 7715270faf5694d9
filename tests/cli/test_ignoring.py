"""`--ignore` and `--border`, from training to an artefact."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssae_tf import detector as detector_module
from ssae_tf.cli.main import run
from ssae_tf.data.images import read_image, write_png
from ssae_tf.detector import Detector
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.manifest import file_hash
from ssae_tf.training import loop
from stand_ins import small_network

Invoke = Callable[..., Any]
BORDER = 3


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    """Ignores the lower left of 32 × 32."""
    found = np.zeros((32, 32), np.bool_)
    found[16:, :14] = True
    return found


@pytest.fixture(scope="module")
def made(
    mask: np.ndarray, fit_arguments: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """A run of a small network, and what was said; its mask is moved away afterwards."""
    folder = tmp_path_factory.mktemp("ignoring")
    write_png(folder / "mask.png", mask)
    arguments = ["--ignore", str(folder / "mask.png"), "--border", str(BORDER)]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for module in (loop, detector_module):
            patch.setattr(module, "autoencoder", small_network)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([*fit_arguments, *arguments, "--out", str(folder / "run")])
        assert code == 0, err.getvalue()
        (folder / "mask.png").unlink()
        yield folder / "run", err.getvalue()


def test_it_is_said_and_kept(made: tuple[Path, str], mask: np.ndarray) -> None:
    folder, said = made
    ignored = np.kron(mask, np.ones((2, 2))) > 0
    ignored[:BORDER] = ignored[-BORDER:] = ignored[:, :BORDER] = ignored[:, -BORDER:] = True
    assert f"{100 * ignored.mean():.1f} % of each image is ignored." in said.splitlines()
    config = json.loads((folder / "config.json").read_text())
    assert config["scoring"]["border"] == BORDER
    assert config["scoring"]["ignore"] == str(folder.parent / "mask.png")
    np.testing.assert_array_equal(cv2.imread(str(folder / "ignore.png"), 0) > 0, mask)
    detector = Detector.load(folder)
    np.testing.assert_array_equal(detector.counted(64, 64), ~ignored)
    report = (folder / "report.html").read_text("utf-8")
    assert f"{100 * ignored.mean():.1f} % of each image never counts" in report
    assert report.count('alt="Mask of what is ignored"') == 1


def test_the_threshold_comes_from_what_counts(made: tuple[Path, str], sample_root: Path) -> None:
    """What good images have there changes neither map nor score."""
    folder, _ = made
    detector = Detector.load(folder)
    counted = detector.counted(64, 64)
    names = json.loads((folder / "split.json").read_text())["calibrate"]
    scores = []
    for name in names:
        result = detector.predict(read_image(sample_root / "tile" / name), threshold=0.0)
        assert (result.anomaly_map[~counted] == 0.0).all()
        assert (result.anomaly_map[counted] > 0.0).any()
        scores.append(result.score)
    assert max(scores) == pytest.approx(detector.calibration.threshold, rel=1e-3)


def test_a_new_threshold_ignores_the_same(
    made: tuple[Path, str], invoke: Invoke, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made[0], folder)
    assert invoke("calibrate", folder, "--min-area", "4").code == 0
    detector, before = Detector.load(folder), Detector.load(made[0])
    np.testing.assert_array_equal(detector.ignore_mask, before.ignore_mask)
    assert detector.calibration.min_area == 4
    detector.save(tmp_path / "copy")
    np.testing.assert_array_equal(
        Detector.load(tmp_path / "copy").counted(50, 70), before.counted(50, 70)
    )


def test_an_artefact_ignores_the_same(
    made: tuple[Path, str], invoke: Invoke, tmp_path: Path, sample_root: Path
) -> None:
    folder = made[0]
    done = invoke("export", folder, "--format", "savedmodel", "--out", tmp_path / "tile")
    assert done.code == 0, done.err
    artefact, detector = Artefact.load(tmp_path / "tile"), Detector.load(folder)
    assert artefact.metadata["ignored"] == {"mask": True, "border": BORDER}
    names = ("config.json", "weights.npz", "calibration.json", "ignore.png")
    assert artefact.metadata["run_hash"] == file_hash(folder / name for name in names)
    path = next((sample_root / "tile" / "test" / "good").iterdir())
    found, expected = artefact.predict(path), detector.predict(path)
    assert (found.anomaly_map[~detector.counted(64, 64)] == 0.0).all()
    np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, atol=1e-3)
    small = tmp_path / "small.png"
    write_png(small, np.zeros((2 * BORDER, 40, 3), np.uint8))
    done = invoke("predict", tmp_path / "tile", small)
    assert "all of 40×6 pixels is ignored (border 3)" in done.out[-1]
    done = invoke("predict", folder, small)
    assert "All of an image of 40×6 pixels is ignored (border 3)" in done.out[-1]


def test_a_run_without_its_mask_is_none(made: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made[0], folder)
    (folder / "ignore.png").unlink()
    with pytest.raises(Exception, match=r"has no ignore\.png"):
        Detector.load(folder)


@pytest.mark.parametrize(
    ("size", "white", "more", "message"),
    [
        ((32, 48), 0, (), r"mask\.png: has 48×32 pixels and .* 64×64: expected a mask of the same"),
        ((32, 32), 255, (), r"mask\.png: ignores all of every image"),
        ((32, 32), 0, ("--border", 32), r"of its 64×64 pixels 0 are left"),
        ((32, 32), 0, ("--border", -1), r"`scoring\.border`"),
        (None, 0, (), r"mask\.png: can't be read"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    size: tuple[int, int] | None,
    white: int,
    more: tuple[object, ...],
    message: str,
    invoke: Invoke,
    fit_arguments: list[str],
    tmp_path: Path,
) -> None:
    if size is not None:
        write_png(tmp_path / "mask.png", np.full(size, white, np.uint8))
    out = tmp_path / "run"
    done = invoke(*fit_arguments, "--ignore", tmp_path / "mask.png", *more, "--out", out)
    assert (done.code, done.out) == (1, [])
    assert re.search(message, done.error)
    assert not out.exists()


def test_preview_shows_it(
    invoke: Invoke, sample_root: Path, tmp_path: Path, mask: np.ndarray
) -> None:
    write_png(tmp_path / "mask.png", mask)
    stages = 'training.stages=[{"size": 32, "batch_size": 1, "steps": 1}]'
    arguments = ["preview", "--data", sample_root, "--category", "tile", "--preset", "quick"]
    arguments += ["--set", stages, "--rows", "2"]
    widths = []
    for name, more in (("plain", ()), ("ignoring", ("--ignore", tmp_path / "mask.png"))):
        done = invoke(*arguments, *more, "--out", tmp_path / name)
        assert done.code == 0, done.err
        widths.append(cv2.imread(done.out[0]).shape[1])
    # A fifth column.
    assert widths[1] / widths[0] == pytest.approx(5 / 4, rel=0.05)
