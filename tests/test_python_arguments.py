"""What functions refuse in Python is an error of ours, before it costs anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssae_tf
from ssae_tf import workflow
from ssae_tf.config import RunConfig
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, InputError, RunError
from ssae_tf.export.artefact import Artefact, open_detector
from ssae_tf.export.build import export
from ssae_tf.export.client import Client
from ssae_tf.export.make import Request
from ssae_tf.result import as_unit
from stand_ins import grey_network


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan, math.inf])
def test_a_budget_is_a_time(minutes: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Expected minutes above 0, and finite"):
        workflow.fit(tmp_path / "nowhere", out=tmp_path / "run", minutes=minutes)
    assert not (tmp_path / "run").exists()


def test_a_detector_without_threshold_is_not_measured(tmp_path: Path) -> None:
    detector = Detector(grey_network(), RunConfig())
    with pytest.raises(RunError, match="has no threshold yet: calibrate it first"):
        workflow.evaluate(detector, data=tmp_path)


@pytest.mark.parametrize(
    ("array", "received"),
    [
        (np.zeros((4, 4), int), "int64 from 0 to 0"),
        (np.full((4, 4), 255.0), "float64 from 255.0 to 255.0"),
        (np.full((4, 4), np.nan), "float64 from nan to nan"),
        (np.zeros((4, 4), bool), "bool from False to False"),
        (np.full((4, 4), None), "object"),
        (np.full((4, 4), "a"), "<U1"),
        (np.zeros((4, 4), complex), "complex128"),
    ],
)
def test_an_array_that_is_no_image(array: np.ndarray, received: str) -> None:
    with pytest.raises(DataError) as caught:
        as_unit(array, 65535)
    assert str(caught.value).endswith(f"Received: {received}.")


NOWHERE = "http://127.0.0.1:9"
DETECTOR = Detector(grey_network(), RunConfig())


@pytest.mark.parametrize(
    ("function", "arguments", "said"),
    [
        (workflow.fit, {"data": 3}, "`data`: str | Path"),
        (workflow.fit, {"data": "d", "category": ["tile"]}, "`category`: str | None"),
        (workflow.fit, {"data": "d", "out": 3.5}, "`out`: str | Path | None"),
        (workflow.fit, {"data": "d", "config": "quick"}, "`config`: RunConfig | None"),
        (workflow.fit, {"data": "d", "minutes": "long"}, "`minutes`: float | None"),
        (workflow.fit, {"data": "d", "reporter": print}, "`reporter`: Reporter | None"),
        (workflow.resume, {"folder": None}, "`folder`: str | Path"),
        (workflow.resume, {"folder": "run", "data": 3}, "`data`: str | Path | None"),
        (workflow.calibrate, {"run": []}, "`run`: str | Path"),
        (workflow.calibrate, {"run": "run", "min_area": 2.5}, "`min_area`: int | None"),
        (workflow.calibrate, {"run": "run", "without": "a.png"}, "`without`: Sequence[str]"),
        (workflow.calibrate, {"run": "run", "without": [3]}, "`without`: Sequence[str]"),
        (workflow.evaluate, {"run": 3}, "`run`: str | Path | Detector"),
        (workflow.evaluate, {"run": "run", "out": 3}, "`out`: str | Path | None"),
        (workflow.evaluate, {"run": "run", "good": {}}, "`good`: str | Path | None"),
        (Detector.load, {"run": None}, "`run`: str | Path"),
        (DETECTOR.save, {"folder": 3}, "`folder`: str | Path"),
        (DETECTOR.predict_batch, {"images": 3}, "`images`: Sequence[Any] | np.ndarray"),
        (DETECTOR.predict_batch, {"images": [], "size": "all"}, "`size`: int | None"),
        (Artefact.load, {"path": 3.5}, "`path`: str | Path"),
        (open_detector, {"path": None}, "`path`: str | Path"),
        (export, {"run": "run", "request": "onnx"}, "`request`: Request"),
        (export, {"request": Request("onnx"), "run": 3}, "`run`: str | Path"),
        (Client, {"name": "x", "address": 3}, "`address`: str"),
        (Client, {"address": NOWHERE, "name": None}, "`name`: str"),
        (Client, {"address": NOWHERE, "name": "x", "timeout": []}, "`timeout`: float"),
        (Client, {"address": NOWHERE, "name": "x", "white_level": "w"}, "`white_level`: int"),
        (ssae_tf.preset, {"name": ["quick"]}, "`name`: str"),
    ],
)
def test_an_argument_of_another_type(
    function: Callable[..., Any], arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        function(**arguments)
    received = arguments[said.split("`")[1]]
    # Of a list, its first member that does not fit.
    received = 3 if received == [3] else received
    assert str(caught.value) == f"Expected {said}. Received: {received!r}."


@pytest.mark.parametrize("name", ["data", "category", "out"])
def test_a_name_with_null_bytes(name: str) -> None:
    with pytest.raises(InputError) as caught:
        workflow.fit(**{"data": "d", name: "a\0b"})  # type: ignore[arg-type]
    assert str(caught.value) == f"Expected `{name}` without null bytes. Received: 'a\\x00b'."


def test_a_batch_is_of_some_images() -> None:
    with pytest.raises(InputError, match=r"^Expected a size of at least 1\. Received: 0\.$"):
        DETECTOR.predict_batch([], size=0)


@pytest.mark.parametrize("image", [3, None, b"a.png", {}, object()])
def test_what_is_no_image(image: Any) -> None:
    said = r"^Expected a path, an array or an image of Pillow\. Received: builtins\."
    for predict in (Client(NOWHERE, "x").predict, lambda one: as_unit(one, 255)):
        with pytest.raises(DataError, match=said):
            predict(image)


def test_positional_arguments_are_named() -> None:
    with pytest.raises(InputError, match=r"^Expected `data`: str \| Path\. Received: 3\.$"):
        workflow.fit(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^Expected `run`: str \| Path\. Received: 3\.$"):
        Detector.load(3)  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    client = Client(NOWHERE, "x", white_level=np.int64(255), timeout=np.float32(2))  # type: ignore[arg-type]
    assert (client.white_level, client.timeout) == (255, 2.0)


def test_a_misspelt_argument_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'minute'"):
        workflow.fit("d", minute=3)  # type: ignore[call-arg]
