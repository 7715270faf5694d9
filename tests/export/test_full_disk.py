"""A disk that takes no more ends an export in one sentence: the file, and what is kept.

What stands for it is the system's limit on the size of a file: real writers, the real error.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.quick import network
from ssae_tf import detector as detector_module
from ssae_tf.config import from_dict
from ssae_tf.detector import Calibration, Detector
from ssae_tf.errors import WriteError
from ssae_tf.export import child
from ssae_tf.export.build import export
from ssae_tf.export.make import Maker, Request
from ssae_tf.files import write_error, write_json
from stand_ins import Listener


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """In bytes; child processes have the limit too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(detector_module, "load_network", network)
    config = from_dict({"category": "tile"})
    Detector(network(config), config, Calibration(0.25, 9, ())).save(tmp_path / "run")
    return tmp_path / "run"


def snapshot(folder: Path) -> dict[str, bytes | None]:
    paths = sorted(folder.rglob("*"))
    return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_graph_can_not_be_written(
    overwrite: bool, run: Path, validation: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    place, kept = out / "1", "nothing of the export is kept"
    if overwrite:
        kept = f"{place} is as it was"
        files = {"saved_model.pb": "0" * 64}
        write_json(place / "metadata.json", {"kind": "ssae_tf artefact", "files": files})
        (place / "saved_model.pb").write_bytes(b"old")
    before = snapshot(tmp_path)
    with files_of_at_most(2000), pytest.raises(WriteError) as caught:
        export(
            run,
            Request("savedmodel"),
            validation,
            out=out,
            overwrite=overwrite,
            reporter=Listener(),
        )
    text = str(caught.value)
    assert text.startswith(f"{out}/.1.new/artefact")
    assert text.endswith(f": can't be written (File too large); {kept}.")
    assert "\n" not in text
    assert snapshot(tmp_path) == before


def test_a_converter_tells_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = (
        "from pathlib import Path\n"
        "from ssae_tf.files import atomic\n"
        "def convert(out, named):\n"
        "    path = Path(out, 'x')\n"
        "    if not named: path.write_bytes(b'x' * 9000)\n"
        "    with atomic(path) as temporary: temporary.write_bytes(b'x' * 9000)\n"
    )
    (tmp_path / "test_full_disk_functions.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "out").mkdir()
    # The system names no file where it is the writing that fails.
    for named, place in ((True, tmp_path / "out" / "x"), (False, tmp_path / "out")):
        with files_of_at_most(5000), pytest.raises(WriteError) as caught:
            child.call("test_full_disk_functions:convert", out=tmp_path / "out", named=named)
        assert str(caught.value) == f"{place}: can't be written (File too large)."


def test_other_failures_stay_what_they_are(
    run: Path, validation: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such operation")

    monkeypatch.setattr(Maker, "_saved_model", fail)
    with pytest.raises(ValueError, match=r"^no such operation$"):
        export(run, Request("savedmodel"), validation, out=tmp_path / "x", reporter=Listener())
    assert not (tmp_path / "x").exists()


def test_native_code_tells_in_the_words_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "artefact" / "variables" / "part-0"
    for text, file in (
        (f"{{{{node Save}}}} {path}; No space left on device [Op:SaveV2]", path),
        ("write: No space left on device", tmp_path),
    ):
        found = write_error(RuntimeError(text), tmp_path)
        assert str(found) == f"{file}: can't be written (No space left on device)."
    assert write_error(RuntimeError("no such operation"), tmp_path) is None
    assert write_error(FileNotFoundError(2, "No such file", "x"), tmp_path) is None
