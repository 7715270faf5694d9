"""An artefact says what module its engine was built with; no other than ours is imported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mutations import seal
from ssae_tf.errors import RunError
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import Exported
from ssae_tf.export.formats.tensorrt import EngineRuntime

FOREIGN = "module_of_an_artefact"


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once a module beside the artefact was imported."""
    mark = tmp_path / "imported"
    (tmp_path / f"{FOREIGN}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    (tmp_path / FOREIGN / "tensorrt").mkdir(parents=True)
    for name in ("__init__.py", "tensorrt/__init__.py"):
        shutil.copy(tmp_path / f"{FOREIGN}.py", tmp_path / FOREIGN / name)
    monkeypatch.syspath_prepend(tmp_path)
    return mark


@pytest.mark.parametrize("format_", ["trt", "trt-rtx"])
@pytest.mark.parametrize("module", [FOREIGN, f"{FOREIGN}.tensorrt", "", "../tensorrt"])
def test_a_foreign_module_is_refused_before_anything_is_imported(
    format_: str, module: str, make: Callable[..., Exported], imported: Path
) -> None:
    folder = shutil.copytree(make("tflite").folder, imported.parent / "artefact")
    (folder / "model.engine").write_bytes(b"engine")
    values = json.loads((folder / "metadata.json").read_text()) | {
        "format": format_,
        "precision": "fp32",
        "runtime": "tensorrt",
        "signatures": ["serving_default"],
        "builder": {"kind": "engine", "module": module, "version": "10"},
    }
    (folder / "metadata.json").write_text(json.dumps(values))
    seal(folder)
    for open_ in (Artefact.load, lambda path: Artefact(path, values)):
        with pytest.raises(RunError) as caught:
            open_(folder)
        said = str(caught.value)
        assert said.startswith(f"{folder / 'metadata.json'}: expected a builder of tensorrt")
        assert "\n" not in said
    with pytest.raises(RunError, match="Expected one of the modules tensorrt, tensorrt_rtx"):
        EngineRuntime(folder, module)
    assert not imported.exists()
