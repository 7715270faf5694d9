"""Settings to JSON and back; what is wrong is said in one sentence (field, expected, received)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ssae_tf.config.schema import RunConfig
from ssae_tf.config.sentences import sentence
from ssae_tf.errors import ConfigError

_ADAPTER = TypeAdapter(RunConfig)


def from_dict(values: dict[str, Any]) -> RunConfig:
    """Builds settings from plain values.

    Args:
        values: nested dictionaries keyed by field name; missing fields take their defaults.

    Raises:
        ConfigError: an unknown key, a wrong type or a value out of range.
    """
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
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}).") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON ({error}).") from None


def override(config: RunConfig, changes: dict[str, Any]) -> RunConfig:
    """A copy with some fields changed.

    Args:
        config: the settings to start from.
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
