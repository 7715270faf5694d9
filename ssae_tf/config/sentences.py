"""What is wrong with settings, in one sentence, whoever makes them: a file, or Python."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

from pydantic import ValidationError

from ssae_tf.errors import ConfigError

_Settings = TypeVar("_Settings")


def one_sentence(settings: type[_Settings]) -> type[_Settings]:
    """Has the constructor of a pydantic dataclass raise `ConfigError`."""
    made: Any = settings
    check = made.__init__

    @functools.wraps(check)
    def construct(self: object, *args: Any, **values: Any) -> None:
        try:
            check(self, *args, **values)
        except ValidationError as error:
            raise ConfigError(sentence(error)) from None

    made.__init__ = construct
    return settings


def sentence(error: ValidationError) -> str:
    """The first complaint: field, expected, received."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"Unknown setting `{where}`."
    if first["type"] == "missing":
        return f"Missing setting `{where}`."
    if first["type"] == "value_error":
        # One of our own, which says what came.
        of = f"Invalid value for `{where}`" if where else "Settings that do not fit together"
        return f"{of}: {first['msg'].removeprefix('Value error, ')}."
    if not where:
        return f"Expected settings by name. Received: {first['input']!r}."
    return f"Invalid value for `{where}`: {first['msg']}. Received: {first['input']!r}."
