"""How the scripts of this folder print figures, and keep them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def print_metrics(
    title: str, metrics: Mapping[str, Mapping[str, Any]], figures: Sequence[str]
) -> None:
    """A Markdown table of some figures of metrics.json, one row for each name."""
    print(f"| {title} |", " | ".join(figures), "|")
    print("|---" * (len(figures) + 1) + "|")
    for name, values in metrics.items():
        cells = ("–" if values[key] is None else f"{values[key]:.3f}" for key in figures)
        print(f"| {name} |", " | ".join(cells), "|")


def command_line(**places: object) -> str:
    """The command that runs, for result files, with names in place of local paths (RUN=…)."""
    text = " ".join(["python", *sys.argv])
    for name, place in places.items():
        if place is not None:
            text = text.replace(str(place), name)
    return text


def write_result(path: Path | None, content: Mapping[str, Any], **places: object) -> None:
    """A result file: the command, the machine, the figures.

    The command has `places` as in `command_line`, and FILE for the path. Nothing is written
    without a path.
    """
    if path is None:
        return
    # Import TensorFlow, which not every script needs for more than this.
    from ssae_tf.files import write_json
    from ssae_tf.machine import machine

    write_json(
        path, {"command": command_line(FILE=path, **places), "machine": machine(), **content}
    )
