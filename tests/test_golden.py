"""Golden images: what a machine is checked by, from the run to `ssae-tf selftest`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssae_tf.data.images import write_png
from ssae_tf.detector import Calibration, Detector
from ssae_tf.errors import RunError
from ssae_tf.golden import compare_golden, write_golden
from ssae_tf.run_folder import Mark, write_mark
from stand_ins import untrained_detector

THRESHOLD = 0.05


@pytest.fixture(scope="module")
def detector() -> Detector:
    return untrained_detector(THRESHOLD)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A broken file, then three images."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    (folder / "0.png").write_bytes(b"")
    for number in range(1, 4):
        pixels = cv2.resize(rng.integers(60, 190, (8, 8, 3), np.uint8), (64, 48))
        write_png(folder / f"{number}.png", pixels)
    return sorted(folder.iterdir())


@pytest.fixture
def run(detector: Detector, images: list[Path], tmp_path: Path) -> Path:
    """A run with golden images."""
    write_golden(_folder(tmp_path / "run"), detector, images)
    detector.save(tmp_path / "run")
    return tmp_path / "run"


def _folder(path: Path) -> Path:
    (path / "golden").mkdir(parents=True)
    # `save` wants a folder that is empty or a run.
    write_mark(path, Mark())
    return path


def _golden(run: Path) -> dict[str, Any]:
    return json.loads((run / "golden" / "golden.json").read_text())  # type: ignore[no-any-return]


def test_first_readable_images_and_corrupted_copies_are_kept_with_what_is_said_of_them(
    run: Path, detector: Detector, images: list[Path]
) -> None:
    golden = _golden(run)
    names = ["normal_0.png", "corrupted_0.png", "normal_1.png", "corrupted_1.png"]
    assert list(golden["images"]) == names
    assert (golden["threshold"], golden["min_area"]) == (THRESHOLD, 9)
    for name, said in golden["images"].items():
        result = detector.predict(run / "golden" / name)
        assert said == {"score": result.score, "is_anomalous": result.is_anomalous}
    kept, corrupted = (cv2.imread(str(run / "golden" / name)) for name in names[:2])
    assert np.array_equal(kept, cv2.imread(str(images[1])))
    share = (kept != corrupted).any(axis=-1).mean()
    assert 0.0 < share < 0.5


def test_sizes_are_those_that_are_inspected(
    detector: Detector, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / "large.png"
    write_png(path, rng.integers(0, 255, (600, 700, 3), np.uint8))
    write_golden(tmp_path, detector, [path], (32, 40))
    assert cv2.imread(str(tmp_path / "golden" / "normal_0.png")).shape == (32, 40, 3)
    assert detector.inspection_size is None
    write_golden(tmp_path, detector, [path])
    cut = cv2.imread(str(tmp_path / "golden" / "normal_0.png"))
    assert np.array_equal(cut, cv2.imread(str(path))[44:556, 94:606])


def test_without_a_readable_image_there_are_none(
    detector: Detector, images: list[Path], tmp_path: Path
) -> None:
    write_golden(tmp_path, detector, images[:1])
    assert not (tmp_path / "golden").exists()
    with pytest.raises(RunError, match=r"has no golden/golden\.json"):
        list(compare_golden(detector, tmp_path))


def test_another_threshold_and_area_of_the_run_change_nothing(
    run: Path, detector: Detector
) -> None:
    other = detector.replace(calibration=Calibration(9.0, 200, (9.0,)))
    compared = list(compare_golden(other, run))
    assert [one.difference for one in compared] == [0.0] * 4
    assert all(one.is_anomalous == one.was_anomalous for one in compared)


def test_differences_far_above_the_threshold_count_by_their_share(
    run: Path, detector: Detector
) -> None:
    golden = _golden(run)
    said = golden["images"]["normal_0.png"]
    found = said["score"]
    # Half of the threshold, and ten times as high.
    for expected, divisor in ((THRESHOLD / 2, 1.0), (THRESHOLD * 10, 10.0)):
        said["score"] = expected
        (run / "golden" / "golden.json").write_text(json.dumps(golden))
        first = next(iter(compare_golden(detector, run)))
        assert first.difference == pytest.approx(abs(found - expected) / divisor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": {}}, "`images` should have at least 1 item"),
        ({"threshold": None}, "`threshold` should"),
        ({"images": {"../x.png": {"score": 1.0, "is_anomalous": True}}}, "inside the folder"),
        ({"schema_version": 2}, "newer version"),
    ],
)
def test_what_is_damaged_is_refused(
    change: dict[str, Any], message: str, run: Path, detector: Detector
) -> None:
    (run / "golden" / "golden.json").write_text(json.dumps({**_golden(run), **change}))
    with pytest.raises(RunError, match=message):
        list(compare_golden(detector, run))


# The command.


def test_a_run_passes_where_it_was_made(invoke: Callable[..., Any], run: Path) -> None:
    done = invoke("selftest", run)
    assert done.code == 0
    said = _golden(run)["images"]["normal_0.png"]
    verdict = "anomalous" if said["is_anomalous"] else "normal"
    score = f"{said['score']:.6g}"
    assert done.out[0] == f"normal_0.png: score {score}, expected {score}; {verdict}"
    assert len(done.out) == 4
    assert done.error.startswith("4 golden images: scores differ by ")
    assert "(tolerance 5.0e-05)" in done.error


def test_a_machine_that_scores_otherwise_fails_in_one_sentence(
    invoke: Callable[..., Any], run: Path
) -> None:
    golden = _golden(run)
    said = golden["images"]["corrupted_1.png"]
    found = said["score"]
    # What a normal image would have; nothing else differs.
    said.update(score=THRESHOLD / 2, is_anomalous=False)
    (run / "golden" / "golden.json").write_text(json.dumps(golden))
    done = invoke("selftest", run)
    assert done.code == 1
    assert done.out[3].endswith("the verdict is another") == (found > THRESHOLD)
    assert done.err == [
        f"Error: {run}: corrupted_1.png scores {found:.4g} on this machine and "
        f"{THRESHOLD / 2:.4g} where it was made, which differ by "
        f"{abs(found - THRESHOLD / 2):.2g}, more than 5e-05: don't use it here."
    ]


def test_a_run_without_them_says_so(invoke: Callable[..., Any], run: Path) -> None:
    (run / "golden" / "golden.json").unlink()
    done = invoke("selftest", run)
    assert (done.code, done.out) == (1, [])
    assert "nothing to compare with" in done.error
