"""`ssae-tf check`: what is wrong with a folder, before training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssae_tf.data.images import write_png

Invoke = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """24 good images of one size, each different, and 20 for the threshold."""
    for part, count in (("train", 24), ("validation", 20)):
        good = tmp_path / "part" / part / "good"
        good.mkdir(parents=True)
        for number in range(count):
            coarse = cv2.resize(rng.normal(110, 20, (8, 8)), (48, 48))
            image = coarse + rng.normal(0, 10, coarse.shape)
            write_png(good / f"{number}.png", np.clip(image, 1, 254).astype(np.uint8))
    return tmp_path / "part"


def test_nothing_to_mend(folder: Path, invoke: Invoke) -> None:
    done = invoke("check", folder, "--preset", "quick", "--quiet")
    assert (done.code, done.err) == (0, [])
    assert done.out[0] == "part: 44 good images (22 train, 2 select, 20 calibrate, 0 test)."
    assert done.out[2] == "Note: No test set"
    assert done.out[-2] == "Nothing stands in the way of fit."
    assert done.out[-1].startswith("From 20 good images: expect about 1 in 21 good parts")


def test_one_image_is_one(folder: Path, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(folder / "train/good/0.png", tmp_path / "one")
    done = invoke("check", tmp_path / "one", "--preset", "quick", "--quiet")
    assert done.out[0] == "one: 1 good image (1 train, 1 select, 1 calibrate, 0 test)."


def test_something_to_mend(folder: Path, invoke: Invoke) -> None:
    for number in range(5):
        shutil.copy(folder / f"train/good/{number}.png", folder / f"train/good/copy{number}.png")
    done = invoke("check", folder, "--quiet", "--preset", "quick")
    assert done.code == 3
    start = done.out.index("Warning: The same image more than once")
    assert done.out[start + 1].startswith("  5 images are there under several names")
    assert done.out[start + 2] == "  - train/good/0.png = train/good/copy0.png"
    assert done.out[start + 5] == "  - and 2 more"
    assert done.out[start + 6] == "  What to do: Remove all but one of each."
    assert "Nothing stands in the way of fit." not in done.out


def test_json_gives_all(folder: Path, invoke: Invoke) -> None:
    for number in range(5):
        shutil.copy(folder / f"train/good/{number}.png", folder / f"train/good/copy{number}.png")
    done = invoke("check", folder, "--quiet", "--preset", "quick", "--json")
    assert done.code == 3
    found = json.loads("\n".join(done.out))
    assert found["category"] == "part"
    assert sum(found["images"].values()) == 49
    assert found["promise"]["images"] == 20
    assert len(found["unusual"]) == 20
    assert len(found["twins"]) == 5
    first, last = found["findings"][0], found["findings"][-1]
    assert (first["level"], len(first["names"])) == ("warning", 5)
    assert (last["level"], last["title"]) == ("note", "No test set")
    assert set(first) == {"level", "title", "detail", "remedy", "names"}


def test_a_sheet_of_unusual_images(folder: Path, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "new" / "sheet"
    done = invoke("check", folder, "--preset", "quick", "--out", out)
    assert done.code == 0
    assert str(out / "unusual.png") in done.error
    sheet = cv2.imread(str(out / "unusual.png"))
    # Twenty in rows of five, each 200 pixels wide with its name below.
    assert sheet.shape[1] == 1000
    assert sheet.shape[0] > 800
    # Images are shown as bright as they are, none is missing.
    for row in np.array_split(sheet, 4):
        for cell in np.array_split(row, 5, axis=1):
            assert 60 < cell[50:150, 50:150].mean() < 160


def test_settings_arrive(folder: Path, invoke: Invoke) -> None:
    arguments = ("check", folder, "--quiet", "--preset", "quick")
    for path in folder.glob("*/good/*.png"):
        deep = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16) << 4
        cv2.imwrite(str(path), deep)
    assert invoke(*arguments).code == 3
    assert invoke(*arguments, "--white-level", "4095").code == 0
    shutil.rmtree(folder / "validation")
    split = {"data.calibrate_fraction": "0.4", "data.select_fraction": "0.2"}
    changes = [item for name in split for item in ("--set", f"{name}={split[name]}")]
    done = invoke(*arguments, "--white-level", "4095", *changes)
    assert done.out[0] == "part: 24 good images (9 train, 5 select, 10 calibrate, 0 test)."


def test_the_category_of_a_root(folder: Path, invoke: Invoke) -> None:
    shutil.copytree(folder, folder.parent / "other")
    done = invoke("check", folder.parent, "--category", "other", "--quiet", "--preset", "quick")
    assert (done.code, done.out[0][:6]) == (0, "other:")
    done = invoke("check", folder.parent, "--quiet")
    assert (done.code, done.out) == (1, [])
    assert "name one of its categories: " in done.error


def test_the_folder_of_the_environment(
    folder: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSAE_TF_DATA", str(folder))
    done = invoke("check", "--preset", "quick")
    assert done.code == 0
    assert f"Data: {folder}" in done.err[0]


def test_control_characters_do_not_reach_the_terminal(folder: Path, invoke: Invoke) -> None:
    shutil.copy(folder / "train/good/0.png", folder / "train/good/a\x1b[2J\udcff.png")
    done = invoke("check", folder, "--quiet", "--preset", "quick")
    assert done.code == 3
    assert "  - train/good/0.png = train/good/a\\x1b[2J\\udcff.png" in done.out
    done = invoke("check", folder, "--quiet", "--preset", "quick", "--json")
    names = json.loads("\n".join(done.out))["findings"][0]["names"]
    assert names == ["train/good/0.png = train/good/a\x1b[2J\udcff.png"]


@pytest.mark.parametrize("content", [None, b""])
def test_what_can_not_be_used(content: bytes | None, tmp_path: Path, invoke: Invoke) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    done = invoke("check", tmp_path, "--quiet", "--preset", "quick")
    assert (done.code, done.out) == (1, [])
    assert done.error.startswith("Error: ")
    assert "Traceback" not in "\n".join(done.err)


def test_a_sheet_that_can_not_be_written(folder: Path, invoke: Invoke) -> None:
    done = invoke("check", folder, "--quiet", "--out", folder / "train/good/0.png")
    assert done.code == 1
    assert "0.png: can't be made (File exists)" in done.error
