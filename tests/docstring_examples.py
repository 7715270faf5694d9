"""Runs the examples that stand in docstrings."""

from __future__ import annotations

import doctest
import io


def run_examples(owner: object, replaced: dict[str, str] | None = None) -> None:
    """Runs the `>>>` lines of a docstring.

    Args:
        owner: a function or a class; of a class its own docstring alone.
        replaced: text of the docstring and what stands here in its place.

    Raises:
        AssertionError: there are none, or one gives something else than it says.
    """
    name, text = str(getattr(owner, "__qualname__", owner)), owner.__doc__ or ""
    for old, new in (replaced or {}).items():
        assert old in text
        text = text.replace(old, new)
    examples = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert examples.examples, f"{name} has no example"
    said = io.StringIO()
    assert doctest.DocTestRunner().run(examples, out=said.write).failed == 0, said.getvalue()
