"""Settings that are refused in one sentence, whoever makes them: a file, an option, or Python."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.config import RunConfig, from_dict, load, override
from ssae_tf.errors import ConfigError


@pytest.mark.parametrize(
    "make", [lambda: RunConfig(min_area=0), lambda: dataclasses.replace(RunConfig(), min_area=0)]
)
def test_the_constructor_refuses_in_one_sentence_too(make: Callable[[], RunConfig]) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == (
        "Invalid value for `min_area`: Input should be greater than or equal to 1. Received: 0."
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.select_fraction", "0.25"),
        ("scoring.inspection_size", ["32", "64"]),
        ("training.seed", "3"),
        ("training.seed", True),
        ("data.rotate", "yes"),
        ("min_area", "1"),
    ],
)
def test_a_text_is_no_number(name: str, value: Any, tmp_path: Path) -> None:
    values: dict[str, Any] = {name.split(".")[-1]: value}
    if "." in name:
        values = {name.split(".")[0]: values}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    for refuse in (lambda: load(path), lambda: override(RunConfig(), {name: value})):
        with pytest.raises(ConfigError) as caught:
            refuse()
        assert f"Invalid value for `{name}`" in str(caught.value)
        assert repr(value) in str(caught.value)


def test_what_json_can_not_hold_is_refused_in_one_sentence() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, {1, 2}):
        with pytest.raises(ConfigError, match="JSON can't hold") as caught:
            from_dict({"category": value})
        assert "\n" not in str(caught.value)
