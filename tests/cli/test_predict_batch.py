"""`ssae-tf predict --batch`: the lines of one by one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.detector import Detector

Invoke = Callable[..., Any]


@pytest.fixture
def images(sample_root: Path, tmp_path: Path) -> Path:
    """A folder with eight images of a test set, and a broken one between them."""
    folder = tmp_path / "images"
    for path in sorted((sample_root / "tile" / "test").rglob("*.png")):
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder / f"{path.parent.name}_{path.name}")
    (folder / "e.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


@pytest.mark.parametrize("batch", ["3", "100"])
def test_lines_are_those_of_one_by_one(
    invoke: Invoke, run_folder: Path, images: Path, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = invoke("predict", run_folder, images, "--batch", "1")
    sizes = []
    predict = Detector.predict_batch

    def counted(self: Detector, given: Any, **more: Any) -> Any:
        sizes.append((len(given), more["size"]))
        return predict(self, given, **more)

    monkeypatch.setattr(Detector, "predict_batch", counted)
    done = invoke("predict", run_folder, images, "--batch", batch)
    assert done.code == expected.code == 3
    lines, alone = ([json.loads(line) for line in one.out] for one in (done, expected))
    assert [line["path"] for line in lines] == [line["path"] for line in alone]
    assert len(lines) == 9
    for line, other in zip(lines, alone, strict=True):
        assert line.get("error") == other.get("error")
        assert line.get("is_anomalous") == other.get("is_anomalous")
        assert line.get("score") == pytest.approx(other.get("score"), abs=1e-6)
    # The batch with the broken image is inspected one by one.
    assert sorted(sizes) == ([(3, 3), (3, 3)] if batch == "3" else [])


def test_auto_is_one_image_on_a_cpu(invoke: Invoke, run_folder: Path, images: Path) -> None:
    assert (
        invoke("predict", run_folder, images).out
        == invoke("predict", run_folder, images, "--batch", "auto").out
        == invoke("predict", run_folder, images, "--batch", "1").out
    )


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "²"])
def test_other_values_are_refused(invoke: Invoke, run_folder: Path, value: str) -> None:
    done = invoke("predict", run_folder, "x.png", "--batch", value)
    assert done.code == 2
    assert "expected auto or a number of at least 1" in " ".join(done.err)
