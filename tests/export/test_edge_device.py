"""The example for devices runs without TensorFlow, and judges as the detector does."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssae_tf.data.images import write_png
from ssae_tf.detector import Detector
from ssae_tf.export.build import Exported


def _files(distribution: str, seen: set[str]) -> set[Path]:
    """Top-level files and folders of a distribution and of all that it requires."""
    name = re.sub(r"[-_.]+", "-", distribution).lower()
    if name in seen:
        return set()
    seen.add(name)
    found = importlib.metadata.distribution(distribution)
    root = Path(str(found.locate_file("")))
    tops = {Path(str(file)).parts[0] for file in found.files or ()}
    paths = {root / top for top in tops if top not in ("..", "__pycache__")}
    for requirement in found.requires or ():
        if "extra ==" not in requirement:
            try:
                paths |= _files(re.split(r"[^\w.-]", requirement)[0], seen)
            except importlib.metadata.PackageNotFoundError:
                # Needed on other machines.
                continue
    return paths


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with ai-edge-litert, OpenCV and what they require."""
    folder = tmp_path_factory.mktemp("device")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    names = ("ai-edge-litert", "opencv-python-headless", "numpy")
    for path in set().union(*(_files(name, set()) for name in names)):
        if path.exists() and not (site / path.name).exists():
            (site / path.name).symlink_to(path)
    return folder / "bin" / "python"


def _call(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="environments are laid out otherwise")
def test_the_example(
    device: Path,
    make: Callable[..., Exported],
    trained: Detector,
    project_root: Path,
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    code = "import importlib.util as u; print([u.find_spec(n) for n in ('tensorflow', 'keras')])"
    assert _call(device, "-c", code).strip() == "[None, None]"
    example = project_root / "examples" / "edge_device.py"
    assert len(example.read_text().splitlines()) <= 65
    pixels = rng.integers(0, 256, (24, 31, 3)).astype(np.uint8)
    path = tmp_path / "image.png"
    write_png(path, pixels)
    score = trained.predict(pixels).score
    folder = make("tflite").folder
    with pytest.raises(AssertionError, match=r"Expected a threshold of at least 0\. Received: nan"):
        _call(device, example, folder, path, "nan")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(AssertionError, match=r"notes\.txt: expected an image file"):
        _call(device, example, folder, tmp_path / "notes.txt")
    for threshold in (None, 0.3 * score, 0.9 * score, 1.1 * score):
        arguments = [] if threshold is None else [threshold]
        line = json.loads(_call(device, example, folder, path, *arguments))
        expected = trained.predict(pixels, threshold=threshold)
        assert line["is_anomalous"] == expected.is_anomalous
        assert line["threshold"] == expected.threshold
        assert line["score_bound"] == pytest.approx(expected.anomaly_map.max(), abs=1e-4)
        assert sorted(line["boxes"]) == sorted(list(defect.box) for defect in expected.defects)
    assert len(line["boxes"]) == 0
