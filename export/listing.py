"""Which formats work here, as a table."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from ssae_tf.errors import MissingExtraError
from ssae_tf.export.formats import FORMATS, tensorrt


def listing() -> Table:
    """A row for each format: what it is for, its precisions, and what is missing here."""
    table = Table("format", "for", "precisions", "here", box=None)
    for one in FORMATS.values():
        table.add_row(one.name, one.about, " ".join(one.precisions), escape(_state(one.name)))
    return table


def _state(name: str) -> str:
    try:
        FORMATS[name].check()
    except MissingExtraError as error:
        return str(error)
    if name not in ("trt", "trt-rtx"):
        return "works"
    builder, reason = tensorrt.find_builder(name)
    if builder is None:
        return f"ONNX only: {reason}; pip install 'ssae-tf[{name}]'"
    return f"works ({builder.module} {builder.version})"
