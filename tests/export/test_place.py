"""Where artefacts go: what is there already stays, unless it may be replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tensorflow as tf

from ssae_tf.config import RunConfig, from_dict
from ssae_tf.detector import Detector
from ssae_tf.errors import RunError
from ssae_tf.export.place import choose_place, put, working_folder


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Only its category counts here."""
    inputs = tf.keras.Input((None, None, 3))
    model = tf.keras.Model(inputs, tf.keras.layers.Rescaling(1.0)(inputs))
    return Detector(model, from_dict({"category": "tile"}))


def _artefact(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text("{}")
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
    place = _artefact(tmp_path / "place")
    (place / "old").write_text("")
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
