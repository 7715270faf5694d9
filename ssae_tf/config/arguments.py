"""Arguments of public functions: one of a wrong type is an `InputError`, before anything begins."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, ValidationError, validate_call

from ssae_tf.errors import InputError

_Function = TypeVar("_Function", bound=Callable[..., Any])
_AS_DECLARED = ConfigDict(arbitrary_types_allowed=True)


def checked(function: _Function) -> _Function:
    """Has a function take what it declares: a text for a path, a number of NumPy for a number.

    Whatever else it is given is an `InputError`.
    """
    signature = inspect.signature(function)
    # Not before the module is whole: a class may be among what its own methods declare.
    checking = functools.cache(lambda: validate_call(config=_AS_DECLARED)(function))

    @functools.wraps(function)
    def call(*args: Any, **values: Any) -> Any:
        # Arguments that are missing or misspelt are Python's own TypeError.
        for name, value in signature.bind(*args, **values).arguments.items():
            if isinstance(value, (str, Path)) and "\0" in str(value):
                raise InputError(f"Expected `{name}` without null bytes. Received: {value!r}.")
        try:
            return checking()(*args, **values)
        except ValidationError as error:
            raise InputError(_sentence(error, signature)) from None

    return call  # type: ignore[return-value]


def _sentence(error: ValidationError, signature: inspect.Signature) -> str:
    first = error.errors(include_url=False)[0]
    parameters = list(signature.parameters.values())
    name = first["loc"][0]
    parameter = parameters[name] if isinstance(name, int) else signature.parameters[name]
    received = repr(first["input"]).splitlines() or [""]
    return f"Expected `{parameter.name}`: {parameter.annotation}. Received: {received[0][:80]}."
