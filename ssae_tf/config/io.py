"""Settings to JSON and back; what is wrong is said in one sentence (field, expected, received)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ssae_tf.config.schema import RunConfig, is_table
from ssae_tf.config.sentences import sentence
from ssae_tf.errors import ConfigError

_ADAPTER = TypeAdapter(RunConfig)
# Settings of older runs, and the value without which a run computes the same; None is any.
_RETIRED = {
    ("data", "sampling"): "resize",
    ("model", "momentum"): 0.9,
    ("scoring", "margin"): None,
    ("scoring", "normalize"): "none",
    ("training", "epsilon"): 1e-7,
    ("training", "schedule"): "cosine",
    ("training", "warmup"): 0.05,
}


def from_dict(values: dict[str, Any]) -> RunConfig:
    """Builds settings from plain values.

    Args:
        values: nested dictionaries keyed by field name; missing fields take their defaults, and
            those of older runs that changed nothing are left out.

    Raises:
        ConfigError: an unknown key, a wrong type or a value out of range; or settings of an older
            run that can't be made any more.
    """
    values = _without_retired(values)
    try:
        text = json.dumps(values)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"Settings that JSON can't hold ({error}).") from None
    try:
        # Strict: a text is no number. In Python values a list would be no tuple either.
        return _ADAPTER.validate_json(text, strict=True)
    except ValidationError as error:
        raise ConfigError(sentence(error)) from None


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Plain values of all settings, such as JSON holds; `from_dict` takes them back."""
    return json.loads(_ADAPTER.dump_json(config))


def to_json(config: RunConfig) -> str:
    """The content of config.json."""
    return json.dumps(to_dict(config), indent=2) + "\n"


def load(path: Path) -> RunConfig:
    """Reads config.json.

    Raises:
        ConfigError: not a JSON object, or not valid settings; the message names the file.
    """
    values = read_values(path)
    try:
        return from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_values(path: Path) -> dict[str, Any]:
    """The plain values of a config.json, or of part of one, unchecked.

    Raises:
        ConfigError: it can't be read, or is no JSON object; the message names the file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON ({error}).") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: Expected settings by name. Received: {values!r}.")
    return values


def merge(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """A copy with the settings of a config.json, or of part of one; category and preset stay.

    Args:
        values: as `from_dict` takes them; what is missing stays as it is, group by group.

    Raises:
        ConfigError: as of `from_dict`.
    """
    merged = to_dict(config)
    for name, value in values.items():
        group = merged.get(name)
        if isinstance(group, dict) and isinstance(value, dict):
            value = {**group, **value}
        merged[name] = value
    return dataclasses.replace(from_dict(merged), category=config.category, preset=config.preset)


def override(config: RunConfig, changes: dict[str, Any]) -> RunConfig:
    """A copy with some fields changed.

    Args:
        changes: dotted field name -> value, such as {"training.seed": 3}; one of `field_names()`.

    Raises:
        ConfigError: no such field, or a value it does not accept.
    """
    values = to_dict(config)
    for name, value in changes.items():
        *parents, last = name.split(".")
        group: Any = values
        for parent in parents:
            group = group.get(parent) if isinstance(group, dict) else None
        # A group as a whole would put the fields that are not named back to their defaults.
        if not isinstance(group, dict) or isinstance(group.get(last, {}), dict):
            raise ConfigError(
                f"Unknown setting `{name}`. Expected one of: {', '.join(field_names())}."
            )
        group[last] = value
    return from_dict(values)


def absolute(config: RunConfig) -> RunConfig:
    """A copy in which the files and folders that are named are so with their whole paths."""
    group = config.data.group
    paths = {
        "weights_from": config.weights_from,
        "scoring.ignore": config.scoring.ignore,
        "data.group": group if group is not None and is_table(group) else None,
    }
    changes = {name: str(Path(path).resolve()) for name, path in paths.items() if path is not None}
    return override(config, changes)


def field_names() -> list[str]:
    """Dotted names of all settings, in order."""
    names = []
    for field in dataclasses.fields(RunConfig):
        group = getattr(RunConfig(), field.name)
        if dataclasses.is_dataclass(group):
            names += [f"{field.name}.{inner.name}" for inner in dataclasses.fields(group)]
        else:
            names.append(field.name)
    return names


def _without_retired(values: Any) -> Any:
    for (group, name), harmless in _RETIRED.items():
        inner = values.get(group) if isinstance(values, dict) else None
        if not isinstance(inner, dict) or name not in inner:
            continue
        if harmless not in (None, inner[name]):
            raise ConfigError(
                f"`{group}.{name}` {inner[name]!r} is of an older version: `ssae-tf fit` makes "
                "such a run anew."
            )
        values = {**values, group: {key: inner[key] for key in inner if key != name}}
    return values
