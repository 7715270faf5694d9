"""`ssae-tf watch`: what arrives is inspected once, whatever was interrupted, and drift is told."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssae_tf.data.images import write_png
from ssae_tf.errors import DataError, RunError, WriteError
from ssae_tf.result import Result
from ssae_tf.runtime.lock import locked
from ssae_tf.watch import Reference, sentence, watch
from stand_ins import Listener, untrained_detector

TIMES = ("inspected", "seconds")
REFERENCE = Reference((0.1, 0.2, 0.3, 0.4), 0.4)


class Brightness:
    """An inspector whose score is the mean of the image; a file of no bytes breaks it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def predict(self, image: str | Path) -> Result:
        self.seen.append(Path(image).name)
        data = Path(image).read_bytes()
        if not data:
            raise DataError(f"{image}: is empty.")
        score = len(data) / 1000.0
        nothing = np.zeros((1, 1), np.float32)
        return Result(str(image), score, 0.4, score > 0.4, (), nothing, None, nothing, nothing)


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    """A folder that images arrive in."""
    folder = tmp_path / "camera"
    folder.mkdir()
    return folder


def _arrive(folder: Path, name: str, size: int, mtime: float = 1e9) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\0" * size)
    os.utime(path, (mtime, mtime))
    return path


def _watch(camera: Path, **settings: Any) -> list[dict[str, Any]]:
    inspector = settings.pop("inspector", None) or Brightness()
    out = settings.pop("out", camera.parent / "out")
    reporter = settings.pop("reporter", None) or Listener()
    settings = {"interval": 0.001, "once": True, **settings}
    reference = settings.pop("reference", REFERENCE)
    return list(watch(inspector, reference, camera, out, reporter, **settings))


def _written(camera: Path) -> list[dict[str, Any]]:
    text = (camera.parent / "out" / "results.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_each_image_gets_a_line_in_the_order_of_its_arrival(camera: Path) -> None:
    _arrive(camera, "a.png", 300, mtime=3e8)
    _arrive(camera, "b.png", 100, mtime=1e8)
    _arrive(camera, "deep/c.jpg", 500, mtime=2e8)
    _arrive(camera, "notes.txt", 10)
    lines = _watch(camera)
    assert lines == _written(camera)
    begin, *results = lines
    assert begin["watch"]["n_calibration"] == 4
    assert [(line["name"], line["score"]) for line in results] == [
        *(("b.png", 0.1), ("deep/c.jpg", 0.5), ("a.png", 0.3)),
    ]
    assert [line["is_anomalous"] for line in results] == [False, True, False]
    assert results[0]["path"] == str(camera / "b.png")
    assert (results[0]["size"], results[0]["mtime"]) == (100, 1e8)
    # Nothing is moved.
    assert sorted(path.name for path in camera.iterdir()) == ["a.png", "b.png", "deep", "notes.txt"]


def test_what_is_done_is_not_done_again_unless_the_file_is_another(camera: Path) -> None:
    _arrive(camera, "a.png", 100)
    _arrive(camera, "b.png", 100)
    assert len(_watch(camera)) == 3
    assert _watch(camera) == []
    _arrive(camera, "a.png", 200)
    _arrive(camera, "b.png", 100, mtime=2e9)
    _arrive(camera, "c.png", 100)
    assert [line["name"] for line in _watch(camera)] == ["a.png", "c.png", "b.png"]
    assert len(_written(camera)) == 6


def test_an_image_that_fails_has_a_line_and_is_done(camera: Path) -> None:
    _arrive(camera, "a.png", 100)
    path = _arrive(camera, "b.png", 0)
    _, _, failed = _watch(camera)
    assert failed["error"] == f"{path}: is empty."
    assert failed["name"] == "b.png"
    assert "score" not in failed
    assert _watch(camera) == []


def test_an_image_that_grows_is_left_for_the_next_time(camera: Path) -> None:
    _arrive(camera, "a.png", 100)
    growing = _arrive(camera, "b.png", 100)
    listener = Listener()
    looks = 0

    def stopped() -> bool:
        # Asked while it waits for the second look.
        nonlocal looks
        looks += 1
        growing.write_bytes(b"\0" * (100 + looks))
        return False

    lines = _watch(camera, stopped=stopped, reporter=listener)
    assert [line.get("name") for line in lines] == [None, "a.png"]
    assert listener.warned == ["b.png: changed meanwhile, left for the next time."]


def test_without_once_it_goes_on_until_it_is_stopped(camera: Path) -> None:
    _arrive(camera, "0.png", 100)
    names: list[str] = []
    inspector = Brightness()
    lines = watch(
        inspector,
        REFERENCE,
        camera,
        camera.parent / "out",
        Listener(),
        interval=0.001,
        stopped=lambda: len(names) >= 2,
    )
    next(lines)
    for line in lines:
        names.append(line["name"])
        # Two at once: the second is not begun after the stop.
        for one in range(2):
            _arrive(camera, f"{2 * len(names) + one}.png", 100)
    assert len(names) == 2
    assert len(inspector.seen) == 2


@pytest.mark.parametrize("torn", [b'{"schema_version": 1, "na', b"\0\0\0\0", b"{"])
def test_a_torn_last_line_is_cut_off_and_its_image_done_again(camera: Path, torn: bytes) -> None:
    _arrive(camera, "a.png", 100)
    before = _watch(camera)
    _arrive(camera, "b.png", 100)
    with (camera.parent / "out" / "results.jsonl").open("ab") as file:
        file.write(torn)
    lines = _watch(camera)
    assert [line["name"] for line in lines] == ["b.png"]
    assert _written(camera) == before + lines


@pytest.mark.parametrize(
    "content",
    [
        "[]\n",
        "hello\n",
        '{"schema_version": 1, "name": "a"}\n',
        '{"score": 1}\n',
        '{"schema_version": 9}\n',
    ],
)
def test_a_file_of_something_else_is_refused_and_stays(camera: Path, content: str) -> None:
    path = camera.parent / "out" / "results.jsonl"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(RunError, match="line 1 is none that this ssae_tf writes"):
        _watch(camera)
    assert path.read_text() == content


def test_every_state_of_the_record_goes_on_to_the_same_lines(camera: Path) -> None:
    for number in range(4):
        _arrive(camera, f"{number}.png", 100 + number, mtime=1e9 + number)
    whole = _watch(camera)
    path = camera.parent / "out" / "results.jsonl"
    data = path.read_bytes()
    for size in range(0, len(data), 37):
        path.write_bytes(data[:size])
        _watch(camera)
        assert _timeless(_written(camera)) == _timeless(whole)


def _timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def test_one_writer_at_a_time(camera: Path) -> None:
    out = camera.parent / "out"
    out.mkdir()
    with locked(out, "ssae-tf watch"), pytest.raises(RunError, match="is at work in it"):
        _watch(camera)
    assert not (out / "results.jsonl").exists()


def test_a_detector_that_never_works_ends_it(camera: Path) -> None:
    class Broken(Brightness):
        def predict(self, image: str | Path) -> Result:
            raise RunError("its weights are damaged.")

    _arrive(camera, "a.png", 100)
    with pytest.raises(RunError, match="weights are damaged"):
        _watch(camera, inspector=Broken())
    # It is inspected when the detector is mended.
    assert [line["name"] for line in _watch(camera)] == ["a.png"]
    # One image that breaks what has worked is a line, and not the end of each start from now on.
    path = _arrive(camera, "b.png", 100)
    (line,) = _watch(camera, inspector=Broken())
    assert line["error"] == "its weights are damaged."
    assert line["path"] == str(path)


def test_a_folder_must_be_there_at_the_start_and_may_be_away_later(camera: Path) -> None:
    with pytest.raises(DataError, match="can't be listed"):
        _watch(camera / "none")
    away, listener = camera.with_name("away"), Listener()
    _arrive(camera, "a.png", 100)

    def stopped() -> bool:
        if camera.exists() and not listener.warned:
            camera.rename(away)
        elif listener.warned and away.exists():
            away.rename(camera)
        return False

    out = camera.with_name("out")
    lines = watch(
        Brightness(),
        REFERENCE,
        camera,
        out,
        listener,
        interval=0.001,
        stopped=stopped,
    )
    next(lines)
    assert next(lines)["name"] == "a.png"
    assert "can't be listed" in listener.warned[0]


def test_a_disk_that_takes_no_more_is_one_sentence_and_what_fits_stays(camera: Path) -> None:
    for name in ("a.png", "b.png"):
        _arrive(camera, name, 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, hard))
    try:
        with pytest.raises(WriteError, match=r"results\.jsonl: can't be written \(File too large"):
            _watch(camera)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [line["name"] for line in _watch(camera)] == ["b.png"]
    assert [line.get("name") for line in _written(camera)] == [None, "a.png", "b.png"]


def test_a_record_that_is_no_file_is_refused(camera: Path) -> None:
    (camera.parent / "out" / "results.jsonl").mkdir(parents=True)
    with pytest.raises(RunError, match=r"results\.jsonl: is no file"):
        _watch(camera)


def _drifting(camera: Path, first: int, count: int, size: int) -> None:
    for number in range(first, first + count):
        _arrive(camera, f"{number:04}.png", size + number % 7, mtime=1e9 + number)


STRICT = Reference(tuple(np.linspace(0.1, 0.12, 40)), 0.4, alarms_per_year=300.0)


def _is_drift(line: dict[str, Any]) -> bool:
    return "drift" in line


def test_drift_is_a_line_once(camera: Path) -> None:
    _drifting(camera, 0, 60, 300)
    lines = _watch(camera, reference=STRICT)
    (alarm,) = (line["drift"] for line in lines if _is_drift(line))
    assert (alarm["of"], alarm["rose"]) == ("scores", True)
    assert alarm["message"].startswith("Drift: Good images score higher than before, since 20")
    assert alarm["mean_p_value"] < 0.2
    assert alarm["alarms_per_year"] == 300.0
    # Beside the image that raised it, before the next.
    place = [_is_drift(line) for line in lines].index(True)
    assert 1 < place < len(lines) - 1


def test_a_restart_goes_on_with_the_drift_test(camera: Path) -> None:
    _drifting(camera, 0, 60, 300)
    whole = _watch(camera, reference=STRICT)
    place = [_is_drift(line) for line in whole].index(True)
    path = camera.parent / "out" / "results.jsonl"
    data = path.read_bytes().splitlines(keepends=True)
    # Killed some images before the alarm: these few alone would not raise it.
    path.write_bytes(b"".join(data[: place - 2]))
    later = _watch(camera, reference=STRICT)
    assert [_is_drift(line) for line in later].index(True) in (2, 3)
    # Killed between the image and its alarm: it is made up for, and not twice.
    path.write_bytes(b"".join(data[:place]))
    assert _watch(camera, reference=STRICT)[0] == whole[place]
    assert _watch(camera, reference=STRICT) == []
    assert sum(map(_is_drift, _written(camera))) == 1


def test_another_threshold_begins_the_drift_test_anew(camera: Path) -> None:
    _arrive(camera, "a.png", 300)
    assert [line.get("watch") for line in _watch(camera)] == [REFERENCE.to_dict(), None]
    _arrive(camera, "b.png", 300)
    states: list[dict[str, float]] = []
    other = dataclasses.replace(REFERENCE, threshold=0.5)
    lines = _watch(
        camera, reference=other, drifting=lambda drift: states.append(dict(drift.evidence))
    )
    assert [line.get("watch") for line in lines] == [other.to_dict(), None]
    # The state before any image, then after one; what the threshold before has seen is no part.
    assert states[0] == other.drift().evidence
    assert len(states) == 2


def test_sentence_says_how_often_chance_does() -> None:
    raised = _alarm(STRICT)
    assert "chance says so once in 10 years at most" in sentence(raised, 0.1)
    assert "chance says so 12 times a year at most" in sentence(raised, 12.0)
    fewer = dataclasses.replace(raised, of="rejections", rose=False)
    assert sentence(fewer, 0.1).startswith("Drift: Fewer images are rejected than before")


def _alarm(reference: Reference) -> Any:
    drift = reference.drift()
    alarms = (drift.add(0.3, number) for number in range(100))
    return next(alarm for alarm in alarms if alarm is not None)


# The command itself.


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an untrained network."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    untrained_detector(0.05).save(folder)
    return folder


@pytest.fixture
def images(camera: Path, rng: np.random.Generator) -> Path:
    """Two images and a broken one."""
    for name in ("a.png", "b.png"):
        write_png(camera / name, rng.integers(0, 255, (64, 64, 3), np.uint8))
    (camera / "c.jpg").write_bytes(b"\xff\xd8\xff")
    return camera


def test_the_command_prints_what_it_writes_and_predict_says(
    invoke: Callable[..., Any], run_folder: Path, images: Path
) -> None:
    out = images.parent / "out"
    command = ("watch", run_folder, images, "--out", out, "--once", "--interval", "0.01")
    done = invoke(*command)
    assert (done.code, done.err) == (3, [])
    lines = [json.loads(line) for line in done.out]
    assert lines == _written(images)
    scores = json.loads((run_folder / "calibration.json").read_text())["scores"]
    assert lines[0]["watch"]["n_calibration"] == len(scores) == 1
    predicted = invoke("predict", run_folder, images).out
    for line, expected in zip(lines[1:], map(json.loads, predicted), strict=True):
        assert {key: line[key] for key in expected} == expected
    done = invoke(*command)
    assert (done.code, done.out, done.err) == (0, [], [])
    # Where training has seen calibration images, these are nothing to compare with.
    copy = shutil.copytree(run_folder, images.parent / "copy")
    calibration = json.loads((copy / "calibration.json").read_text())
    (copy / "calibration.json").write_text(json.dumps({**calibration, "false_alarms": None}))
    done = invoke("watch", copy, *command[2:])
    assert [json.loads(line)["watch"]["n_calibration"] for line in done.out] == [0]
    assert done.code == 0
    assert done.err[0].startswith("Drift is measured from the first images of service on")


def test_a_signal_ends_it_between_images(run_folder: Path, images: Path) -> None:
    out = images.parent / "out"
    command = [sys.executable, "-m", "ssae_tf", "watch", run_folder, images, "--out", out]
    with subprocess.Popen(
        [str(one) for one in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        # Where it begins, and three images.
        for _ in range(4):
            assert process.stdout.readline().startswith(b"{")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
    assert [line.get("name") for line in _written(images)] == [None, "a.png", "b.png", "c.jpg"]
    assert not (out / ".lock").exists()
