"""What a run is on disk: whose files are whose, what may be replaced, and what is repaired."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ssae_tf import files, run_folder
from ssae_tf.errors import RunError
from ssae_tf.files import write_json, write_text
from ssae_tf.run_folder import (
    Mark,
    beside,
    contents,
    current,
    evaluating,
    is_finished,
    is_run,
    read_mark,
    read_whole,
    write_mark,
    write_together,
    writing,
)
from ssae_tf.run_making import Begun, begun, finish, taken_up
from ssae_tf.runtime.lock import locked

REQUEST = {"data": "/data", "category": None, "minutes": None, "config": {}}
NAMES = (
    *("config.json", "split.json", "environment.json", "weights.npz", "weighting.npz"),
    *("calibration.json", "metrics.json", "ablation.json", "history.csv", "checkpoints/state.npz"),
    *(
        "ignore.png",
        "checkpoints/best.npz",
        "logs/events.out.tfevents.1.host.2.3.v2",
        "sheets/good.png",
    ),
    *("card.md", "golden/golden.json", "golden/normal_0.png"),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run, as far as names go."""
    return make(tmp_path / "runs" / "tile", "old")


def make(folder: Path, text: str) -> Path:
    for name in NAMES:
        write_text(folder / name, text)
    write_mark(folder, Mark())
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def begin(folder: Path, overwrite: bool = False, data: Path = Path("/data")) -> Begun:
    """A run that was begun by a process that died: what it has on disk, without its lock."""
    with begun(folder, REQUEST, data, overwrite=overwrite) as one:
        one.kept = True
        return one


# Whose files.


def test_files_that_we_write_are_ours(run: Path) -> None:
    write_text(run / "checkpoints" / ".state.a1b2c3d4.npz", "half")
    write_text(run / ".metrics.abcdefgh.json", "half")
    write_text(run / "golden" / ".normal_1.abcdefgh.png", "half")
    (run / "export").mkdir()
    ours, others = contents(run)
    assert others == []
    assert set(ours) == names(run)


@pytest.mark.parametrize(
    "name",
    [
        *("notes.txt", "config.json.bak", "logs/notes.txt", "a/config.json", "weights.npz/x"),
        *("checkpoints/old.npz", "sheets/good.txt", "export/model.onnx", "golden/mine.png"),
    ],
)
def test_all_else_is_foreign(name: str, run: Path, tmp_path: Path) -> None:
    if name.startswith("weights.npz"):
        (run / "weights.npz").unlink()
    write_text(run / name, "theirs")
    assert contents(run)[1] == [name]
    with pytest.raises(RunError, match=f"{name}: is none of the files of a run, so "):
        begin(run, overwrite=True)
    assert (run / name).read_text() == "theirs"
    assert {path.name for path in run.parent.iterdir()} == {"tile"}


def test_links_and_empty_folders_are_foreign(run: Path, tmp_path: Path) -> None:
    (run / "images").symlink_to(tmp_path)
    (run / "empty").mkdir()
    (run / "weights.npz").unlink()
    (run / "sheets" / "more").symlink_to(tmp_path)
    assert set(contents(run)[1]) == {"images", "empty", "sheets/more"}


def test_artefacts_in_a_run_are_ours_as_far_as_they_were_exported(run: Path) -> None:
    artefact = run / "export" / "onnx"
    write_text(artefact / "model.onnx", "")
    write_json(artefact / "parity.json", {})
    write_json(artefact / "metadata.json", {"kind": "ssae_tf artefact", "files": {"model.onnx": 1}})
    assert contents(run)[1] == []
    write_text(artefact / "mine.txt", "")
    assert contents(run)[1] == ["export/onnx/mine.txt"]


def test_a_run_that_is_exported_from_is_not_replaced(run: Path) -> None:
    working = run / "export" / ".onnx.new"
    write_mark(working, Mark("export"))
    write_text(working / "artefact" / "model.onnx", "half")
    with locked(working, "ssae-tf export"), pytest.raises(RunError, match="`ssae-tf export`"):
        begin(run, overwrite=True)
    # It has died.
    begin(run, overwrite=True)


def test_settings_of_somebody_else_make_no_run(tmp_path: Path) -> None:
    write_json(tmp_path / "app" / "config.json", {"name": "my app"})
    write_text(tmp_path / "app" / "src" / "main.py", "x")
    assert not is_run(tmp_path / "app")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="app: exists and is no run folder; choose another"):
            begin(tmp_path / "app", overwrite)
    assert names(tmp_path) == {"app/config.json", "app/src/main.py"}


def test_runs_of_before_the_mark_are_known_by_all_their_files(run: Path) -> None:
    (run / "ssae_tf.json").unlink()
    assert not is_run(run)
    write_json(run / "config.json", {"data": {}, "model": {}, "training": {}, "scoring": {}})
    write_json(run / "split.json", {"train": [], "select": [], "calibrate": []})
    environment = {"schema_version": 1, "ssae_tf": "0.1", "data": "", "data_hash": ""}
    write_json(run / "environment.json", environment)
    assert is_run(run)
    assert begin(run, overwrite=True).place != run


def test_a_mark_of_a_later_version_is_refused(run: Path) -> None:
    write_mark(run, Mark(version=2))
    with pytest.raises(RunError, match=r"ssae_tf\.json: version 2, this ssae_tf knows 1 only\."):
        begin(run, overwrite=True)


# What may be replaced.


@pytest.mark.parametrize("what", ["data", "working directory", "link"])
def test_what_is_not_replaced(
    what: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, message, data = run, "holds the images, so it is not replaced", run / "sheets"
    if what == "working directory":
        monkeypatch.chdir(run)
        folder, message, data = Path("."), r"\.: holds the working directory", Path("/data")
    elif what == "link":
        folder, message, data = tmp_path / "link", "is a link, whose place", Path("/data")
        folder.symlink_to(run)
    with pytest.raises(RunError, match=message):
        begin(folder, True, data)
    assert names(run) == {*NAMES, "ssae_tf.json"}


def test_a_mount_point_is_refused_before_the_start(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path == run)
    with pytest.raises(RunError, match="tile: is a mount point, whose place a new folder"):
        begin(run, overwrite=True)


def test_mounts_from_the_same_file_system_are_seen() -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4]) for line in lines]
    assert all(files._is_mount(point) for point in points if point.is_dir() and point.name)


# One writer.


@pytest.mark.parametrize("there", [False, True])
def test_the_second_fit_is_refused(there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    if there:
        make(folder, "old")
    expected = rf"run: `ssae-tf fit` \(process {os.getpid()}, since .+\) is at work in it"
    with begun(folder, REQUEST, Path("/data"), overwrite=there) as one:
        one.kept = True
        for overwrite in (False, True):
            with pytest.raises(RunError, match=expected):
                begin(folder, overwrite)
        with pytest.raises(RunError, match=expected), taken_up(folder):
            pass
        with pytest.raises(RunError, match=expected), writing(folder, "ssae-tf calibrate"):
            pass
    with taken_up(folder):
        pass


# States that a kill leaves.


def test_a_new_run_has_its_mark_from_the_first_moment(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tile"
    one = begin(folder)
    assert (one.folder, one.place) == (folder, folder)
    assert names(folder) == {"ssae_tf.json"}
    assert read_mark(folder) == Mark(request=REQUEST)
    assert not is_finished(folder)
    # The same command again works, and so does --resume.
    write_text(folder / "config.json", "half of it")
    assert begin(folder).place == folder
    assert names(folder) == {"ssae_tf.json"}
    with taken_up(folder) as one:
        assert one.place == folder


def test_a_training_is_kept(tmp_path: Path) -> None:
    begin(tmp_path / "run")
    write_text(tmp_path / "run" / "checkpoints" / "state.npz", "")
    with pytest.raises(RunError, match=r"run: exists; --overwrite .*--resume .*run` goes on with"):
        begin(tmp_path / "run")


def test_a_new_run_is_made_beside_the_old_one(run: Path) -> None:
    one = begin(run, overwrite=True)
    assert one.place == run.parent / ".tile.new"
    assert read_mark(one.place) == Mark(request=REQUEST, replaces="tile")
    make(one.place, "new")
    write_mark(one.place, Mark(request=REQUEST, replaces="tile"))
    assert (run / "weights.npz").read_text() == "old"
    for name in (run, one.place):
        with taken_up(name) as again:
            assert (again.folder, again.place) == (run, one.place)
    finish(one)
    assert (run / "weights.npz").read_text() == "new"
    assert read_mark(run) == Mark()
    assert {path.name for path in run.parent.iterdir()} == {"tile"}


def test_what_came_meanwhile_is_not_deleted(run: Path) -> None:
    one = begin(run, overwrite=True)
    make(one.place, "new")
    write_text(run / "notes.txt", "mine")
    with pytest.raises(RunError, match=r"notes\.txt: came meanwhile .*--resume .*tile` replaces"):
        finish(one)
    assert (run / "weights.npz").read_text() == "old"
    assert (one.place / "weights.npz").read_text() == "new"


def test_an_export_that_came_meanwhile_is_not_disturbed(run: Path) -> None:
    one = begin(run, overwrite=True)
    make(one.place, "new")
    working = run / "export" / ".onnx.new"
    write_mark(working, Mark("export"))
    with locked(working, "ssae-tf export"):
        with pytest.raises(RunError) as caught:
            finish(one)
        assert "`ssae-tf export` (process " in str(caught.value)
        assert str(caught.value).endswith(f", and `ssae-tf fit --resume {run}` replaces it.")
        assert (run / "weights.npz").read_text() == "old"
    finish(one)
    assert (run / "weights.npz").read_text() == "new"


def test_who_evaluates_into_a_run_is_alone_in_it(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run)
    with writing(run, "ssae-tf calibrate"):
        for out in (run, tmp_path / "link"):
            with pytest.raises(RunError, match="`ssae-tf calibrate`"), evaluating(run, out):
                pass
        for elsewhere in (None, tmp_path / "out"):
            with evaluating(run, elsewhere):
                pass
    with evaluating(run, run), pytest.raises(RunError, match="`ssae-tf evaluate`"):
        begin(run, overwrite=True)


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("deleted", [0, 5])
def test_a_swap_that_was_broken_off_is_finished(
    can_exchange: bool, deleted: int, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = begin(run, overwrite=True)
    make(one.place, "new")
    write_mark(one.place, Mark(request=REQUEST, replaces="tile"))
    new, old = beside(run)
    if can_exchange:
        assert files.exchange(new, run)
    else:
        run.rename(old)
    for name in NAMES[:deleted] if can_exchange else ():
        (new / name).unlink()
    with taken_up(run) as one:
        assert one.place == run
        assert is_finished(run)
    assert (run / "weights.npz").read_text() == "new"
    assert {path.name for path in run.parent.iterdir()} == {"tile"}


def test_a_run_that_is_gone_for_a_moment_is_read(run: Path) -> None:
    begin(run, overwrite=True)
    run.rename(beside(run)[1])
    make(beside(run)[0], "new")
    write_mark(beside(run)[0], Mark(request=REQUEST, replaces="tile"))
    assert read_whole(run, lambda: (run / "weights.npz").read_text()) == "new"


def test_temporary_files_of_the_dead_are_swept(run: Path) -> None:
    before = names(run)
    # Of an export, say, that is at work.
    (run / "export" / "empty").mkdir(parents=True)
    (run / "mine").mkdir()
    for name in (".metrics.abcdefgh.json", "checkpoints/.best.a_b_c_d_.npz", ".recalibrated/x"):
        write_text(run / name, "half")
    write_text(run / "sheets" / ".crack.ab_d3fgh.png", "half")
    write_text(run / ".mine.abcdefgh.json", "mine")
    with writing(run, "ssae-tf calibrate"):
        pass
    assert names(run) == {*before, ".mine.abcdefgh.json"}
    assert (run / "export" / "empty").is_dir()
    assert (run / "mine").is_dir()


def test_an_error_before_training_leaves_nothing(run: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, overwrite in ((tmp_path / "a" / "b", False), (empty, False), (run, True)):
        with (
            pytest.raises(RuntimeError),
            begun(folder, REQUEST, Path("/data"), overwrite=overwrite),
        ):
            raise RuntimeError
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "runs"}
    assert names(tmp_path) == {f"runs/tile/{name}" for name in (*NAMES, "ssae_tf.json")}
    assert {path.name for path in run.parent.iterdir()} == {"tile"}


# Two files at once.


def _texts(run: Path) -> tuple[str, ...]:
    return tuple(current(run, name).read_text() for name in ("config.json", "calibration.json"))


def test_two_files_change_together_or_not_at_all(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step is the last: the reader sees both old or both new, and a writer repairs it."""
    replace, states = Path.replace, []

    def seen(path: Path, target: Path) -> Path:
        states.append(_texts(run))
        replace(path, target)
        states.append(_texts(run))
        return target

    monkeypatch.setattr(Path, "replace", seen)
    write_together(run, {"config.json": "new", "calibration.json": "new"})
    assert len(states) == 8
    assert set(states) == {("old", "old"), ("new", "new")}
    assert names(run) == {*NAMES, "ssae_tf.json"}


def test_a_full_disk_keeps_both_files(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise files.not_written(path, OSError(28, "No space left on device"))

    monkeypatch.setattr(run_folder, "write_text", full)
    with pytest.raises(RunError, match=r"\(No space left on device\); .*tile is as it was\.$"):
        write_together(run, {"config.json": "new", "calibration.json": "new"})
    assert _texts(run) == ("old", "old")


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_what_waits_is_put_into_its_place(moved: int, run: Path) -> None:
    for name in ("config.json", "calibration.json")[moved:]:
        write_text(run / "recalibrated" / name, "new")
    (run / "recalibrated").mkdir(exist_ok=True)
    for name in ("config.json", "calibration.json")[:moved]:
        write_text(run / name, "new")
    with writing(run, "ssae-tf calibrate"):
        assert [(run / n).read_text() for n in ("config.json", "calibration.json")] == ["new"] * 2
    assert not (run / "recalibrated").exists()


def test_a_reader_sees_one_state(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[Callable[[], object]] = [
        lambda: write_together(run, {"config.json": "2", "calibration.json": "2"}),
        lambda: finish_with("3"),
    ]

    def finish_with(text: str) -> None:
        one = begin(run, overwrite=True)
        make(one.place, text)
        finish(one)

    def read() -> tuple[str, ...]:
        first = current(run, "config.json").read_text()
        if changes:
            changes.pop(0)()
        return first, current(run, "calibration.json").read_text()

    assert read_whole(run, read) == ("3", "3")


def test_an_error_of_reading_is_raised_once_the_run_is_still(run: Path) -> None:
    def read() -> None:
        raise RunError("broken.")

    with pytest.raises(RunError, match="broken"):
        run_folder.read_whole(run, read)
    assert json.loads((run / "ssae_tf.json").read_text())["kind"] == "run"
