"""Where artefacts go: what is there already stays, unless it may be replaced."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
import tensorflow as tf

from ssae_tf.config import RunConfig, from_dict
from ssae_tf.detector import Calibration, Detector
from ssae_tf.errors import RunError
from ssae_tf.export.place import choose_place, put, working_folder
from ssae_tf.run_folder import Mark, write_mark


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Only its category counts here."""
    inputs = tf.keras.Input((None, None, 3))
    model = tf.keras.Model(inputs, tf.keras.layers.Rescaling(1.0)(inputs))
    return Detector(model, from_dict({"category": "tile"}))


def _artefact(folder: Path, *files: str) -> Path:
    """A folder with the record of an export, and the files that it tells of."""
    folder.mkdir(parents=True)
    for name in (*files, "parity.json"):
        (folder / name).write_text(name)
    record = {"kind": "ssae_tf artefact", "files": dict.fromkeys(files, "")}
    (folder / "metadata.json").write_text(json.dumps(record))
    return folder


def test_defaults_are_in_the_run(detector: Detector, tmp_path: Path) -> None:
    def place(name: str, precision: str) -> str:
        found = choose_place(tmp_path / "run", detector, name, precision, None, False)
        return found.relative_to(tmp_path).as_posix()

    assert place("savedmodel", "float32") == "run/export/savedmodel/tile/1"
    assert place("tflite", "float32") == "run/export/tflite"
    assert place("tflite", "int8") == "run/export/tflite-int8"
    detector = Detector(detector.model, RunConfig())
    assert place("trt", "fp16") == "run/export/trt-fp16"
    found = choose_place(tmp_path / "run", detector, "savedmodel", "float32", None, False)
    assert found == tmp_path / "run" / "export" / "savedmodel" / "run" / "1"


def test_versions_of_a_saved_model(detector: Detector, tmp_path: Path) -> None:
    def version(overwrite: bool) -> str:
        return choose_place(
            tmp_path, detector, "savedmodel", "float32", tmp_path / "tile", overwrite
        ).name

    assert version(False) == version(True) == "1"
    for number in ("2", "10"):
        _artefact(tmp_path / "tile" / number)
    (tmp_path / "tile" / "11.failed").mkdir()
    (tmp_path / "tile" / "notes.txt").write_text("")
    assert (version(False), version(True)) == ("11", "10")
    (tmp_path / "tile" / "12").mkdir()
    assert version(False) == "13"
    with pytest.raises(RunError, match=r"tile/12: is no artefact, so it is not replaced\."):
        version(True)


def test_what_is_there_stays(detector: Detector, tmp_path: Path) -> None:
    def place(out: Path, name: str = "onnx", overwrite: bool = False) -> Path:
        return choose_place(tmp_path, detector, name, "float32", out, overwrite)

    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("")
    artefact = _artefact(tmp_path / "artefact")
    assert place(tmp_path / "empty") == tmp_path / "empty"
    for overwrite in (False, True):
        for name in ("file", "other"):
            with pytest.raises(RunError, match=rf"{name}: exists and is no artefact"):
                place(tmp_path / name, overwrite=overwrite)
        with pytest.raises(RunError, match=r"file: is a file"):
            place(tmp_path / "file", "savedmodel", overwrite)
        with pytest.raises(RunError, match=r"artefact: is an artefact itself"):
            place(artefact, "savedmodel", overwrite)
        with pytest.raises(RunError, match=r"file/deep: can't be made, .*/file is a file"):
            place(tmp_path / "file" / "deep", overwrite=overwrite)
    with pytest.raises(RunError, match=r"artefact: exists; --overwrite replaces it"):
        place(artefact)
    assert place(artefact, overwrite=True) == artefact


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder(detector: Detector, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(RunError, match="is read-only"):
        choose_place(tmp_path, detector, "onnx", "float32", tmp_path / "out", False)


def test_the_working_folder_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b" / "c"

    def fail() -> None:
        with working_folder(place) as scratch:
            (scratch / "half").write_text("written")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with working_folder(place) as scratch:
        assert scratch.parent == place.parent
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't be made"), working_folder(tmp_path / "file" / "x"):
        pass


def test_a_place_is_taken_over_whole(tmp_path: Path) -> None:
    place = _artefact(tmp_path / "place", "before")
    with working_folder(place) as scratch:
        result = scratch / "artefact"
        result.mkdir()
        (result / "new").write_text("")
        put(result, place)
        assert [path.name for path in place.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    umask = os.umask(0)
    os.umask(umask)
    assert place.stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize("what", ["notes.txt", "variables/notes.txt", "link"])
def test_what_was_not_exported_is_never_deleted(
    what: str, detector: Detector, tmp_path: Path
) -> None:
    artefact = _artefact(tmp_path / "artefact", "model.onnx")
    if what == "link":
        (artefact / what).symlink_to(tmp_path)
    else:
        (artefact / what).parent.mkdir(exist_ok=True)
        (artefact / what).write_text("mine")
    with pytest.raises(RunError, match=rf"{what}: was not exported, so .*artefact is not replaced"):
        choose_place(tmp_path, detector, "onnx", "float32", artefact, True)
    with working_folder(artefact) as scratch:
        new = _artefact(scratch / "artefact", "model.onnx")
        with pytest.raises(RunError, match="was not exported"):
            put(new, artefact)
    assert (artefact / what).exists()


def test_a_record_of_somebody_else_makes_no_artefact(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_text('{"title": "thesis"}')
    for overwrite in (False, True):
        with pytest.raises(RunError, match="exists and is no artefact"):
            choose_place(tmp_path, detector, "onnx", "float32", tmp_path, overwrite)
    with pytest.raises(RunError, match="is no artefact, so it is not replaced"):
        put(tmp_path / "new", tmp_path)


def test_an_artefact_of_before_the_mark_is_known(detector: Detector, tmp_path: Path) -> None:
    artefact = _artefact(tmp_path / "artefact", "model.onnx")
    keys = ("schema_version", "format", "runtime", "run_hash", "parity")
    record = {**dict.fromkeys(keys, 1), "files": {"model.onnx": ""}}
    (artefact / "metadata.json").write_text(json.dumps(record))
    assert choose_place(tmp_path, detector, "onnx", "float32", artefact, True) == artefact


def test_no_version_goes_into_a_run(detector: Detector, tmp_path: Path) -> None:
    detector = detector.replace(calibration=Calibration(0.5, 1, (0.5,)))
    detector.save(tmp_path / "run")
    with pytest.raises(RunError, match="run: is a run, not a folder for artefacts"):
        choose_place(tmp_path / "run", detector, "savedmodel", "float32", tmp_path / "run", False)


def test_a_link_is_not_replaced(detector: Detector, tmp_path: Path) -> None:
    _artefact(tmp_path / "artefact")
    (tmp_path / "link").symlink_to(tmp_path / "artefact")
    with pytest.raises(RunError, match="link: is a link, whose place"):
        choose_place(tmp_path, detector, "onnx", "float32", tmp_path / "link", True)


def test_one_export_at_a_time(tmp_path: Path) -> None:
    with (
        working_folder(tmp_path / "place"),
        pytest.raises(RunError, match=rf"`ssae-tf export` \(process {os.getpid()}, since 2"),
        working_folder(tmp_path / "place"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_export_left_is_swept(tmp_path: Path) -> None:
    working = tmp_path / ".place.new"
    (working / "saved_model").mkdir(parents=True)
    with pytest.raises(RunError, match=r"\.place\.new: is in the way of an export"):
        working_folder(tmp_path / "place").__enter__()
    assert (working / "saved_model").is_dir()
    write_mark(working, Mark("export"))
    with working_folder(tmp_path / "place") as scratch:
        assert not (scratch / "saved_model").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["onnx", "savedmodel"])
def test_an_artefact_that_lost_its_place_gets_it_back(
    name: str, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    place = _artefact(out / "1" if name == "savedmodel" else out, "model")
    working = place.with_name(f".{place.name}.new")
    _artefact(working / "artefact", "model")
    write_mark(working, Mark("export"))
    # Killed between two renames, on a file system that exchanges no names.
    place.rename(working / "old")
    with pytest.raises(RunError, match="exists; --overwrite") if name == "onnx" else nullcontext():
        choose_place(tmp_path, detector, name, "float32", out, False)
    assert (place / "model").is_file()


def test_names_are_exchanged_or_renamed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for can_exchange in (True, False):
        if not can_exchange:
            monkeypatch.setattr("ssae_tf.files.exchange", lambda *_: False)
        place = _artefact(tmp_path / str(can_exchange), "before")
        with working_folder(place) as scratch:
            put(_artefact(scratch / "artefact", "after"), place)
        assert {path.name for path in place.iterdir()} == {"after", "metadata.json", "parity.json"}
