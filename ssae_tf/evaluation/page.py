"""What HTML pages share: templates filled in so that nothing is markup."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import jinja2

from ssae_tf.errors import printable
from ssae_tf.evaluation.tables import MISSING


def render(template: str, content: Mapping[str, Any], package: str = "ssae_tf.evaluation") -> str:
    """Fills in a template of a package with all that it names."""
    # Names of files and kinds may hold anything.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = lambda text: printable(str(text))
    source = resources.files(package).joinpath(template).read_text("utf-8")
    return environment.from_string(source).render(content) + "\n"


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values, as JSON, of nested settings."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)


def figure(value: Any, decimals: int | None = None) -> str:
    """A number with so many decimals, or else to four digits; a dash for None."""
    if value is None:
        return MISSING
    return f"{value:.4g}" if decimals is None else f"{value:.{decimals}f}"
