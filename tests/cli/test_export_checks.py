"""`ssae-tf export`: what is missing is told before any work, and how much is compared."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.export import build, formats
from ssae_tf.export.parity import Parity

Invoke = Callable[..., Any]


def test_a_missing_extra_is_told_before_the_run_is_looked_for(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = dataclasses.replace(formats.FORMATS["tflite"], packages=("no_such_package",))
    monkeypatch.setitem(formats.FORMATS, "tflite", absent)
    done = invoke("export", tmp_path / "no run", "--format", "tflite")
    assert (done.code, len(done.err)) == (1, 1)
    assert done.error.endswith("needs no_such_package: pip install 'ssae-tf[tflite]'")
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    done = invoke("export", tmp_path / "no run", "--format", "savedmodel", "--warmup", 3)
    assert (done.code, len(done.err)) == (1, 1)
    assert done.error.endswith("need tensorflow-serving-api: pip install 'ssae-tf[serving]'")
    done = invoke("export", tmp_path / "no run", "--format", "savedmodel")
    assert done.error.startswith(f"Error: {tmp_path / 'no run'}: no such run folder")


@pytest.mark.parametrize("arguments", [[], ["--quick-check"]])
def test_quick_check_arrives(
    arguments: list[str], invoke: Invoke, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[Any] = []

    def export(run: Path, request: Any, *_: object, **__: object) -> build.Exported:
        requests.append(request)
        return build.Exported(Path("made/here"), Parity(1.0, passed=True), "", 1.0)

    monkeypatch.setattr(build, "export", export)
    done = invoke("export", run_folder, "--format", "onnx", "--quiet", *arguments)
    assert done.code == 0, done.err
    assert requests[0].quick_check == bool(arguments)
