"""What TF-TRT is built with, by a stand-in for its converter: TensorFlow has none from 2.18 on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ssae_tf.export.formats import tensorrt
from ssae_tf.export.names import FLOAT

# Images of several sizes, which no one shape would stand for.
PROFILE = tensorrt.Profile((1, 32, 40), (1, 64, 48), (4, 96, 64))


class Converter:
    """Keeps what it is told, and the inputs that it would build engines with."""

    made: list[Converter] = []

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.calls: list[str] = []
        self.inputs: list[tuple[np.ndarray, ...]] = []
        self.made.append(self)

    def convert(self) -> None:
        self.calls.append("convert")

    def build(self, input_fn: Callable[[], Iterator[tuple[np.ndarray, ...]]]) -> None:
        self.calls.append("build")
        self.inputs = list(input_fn())

    def save(self, out: str) -> None:
        self.calls.append(f"save {out}")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_engines_are_built_at_the_profiles_sizes(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package: Any = ModuleType("tensorflow.python.compiler.tensorrt")
    package.trt_convert = ModuleType("trt_convert")
    package.trt_convert.TrtGraphConverterV2 = Converter
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setattr(Converter, "made", [])
    tensorrt.convert_with_tftrt("saved", str(tmp_path), precision, PROFILE.to_dict())
    (converter,) = Converter.made
    assert converter.options["input_saved_model_dir"] == "saved"
    assert converter.options["input_saved_model_signature_key"] == FLOAT
    assert converter.options["precision_mode"] == precision.upper()
    # A batch and a size of the profile each: the engine's range is from the first to the last.
    assert converter.options["use_dynamic_shape"] is True
    assert converter.options["dynamic_shape_profile_strategy"] == "Range"
    assert [[(one.shape, one.dtype) for one in each] for each in converter.inputs] == [
        [((*shape, 3), np.float32)] for shape in ((1, 32, 40), (1, 64, 48), (4, 96, 64))
    ]
    assert converter.calls == ["convert", "build", f"save {tmp_path}"]
