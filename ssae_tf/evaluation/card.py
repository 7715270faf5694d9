"""card.md: what a detector is, is worth and is not, on one page of Markdown.

The report has all of it with images; the card is to be read, mailed and kept beside artefacts. It
says what the records of the run say, and nothing of when or where it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ssae_tf.errors import printable
from ssae_tf.evaluation.page import figure
from ssae_tf.evaluation.report import Report, limits, promise, verdict
from ssae_tf.evaluation.tables import MISSING

_FIGURES = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "tpr": "defective images found",
    "tnr": "good images passed",
    "f1_pixel": "pixel F1",
}
_VERSIONS = ("ssae_tf", "tensorflow", "keras", "numpy", "python")


def card(report: Report, counts: Mapping[str, int]) -> str:
    """The content of card.md.

    Args:
        report: what the report holds.
        counts: good images by part of the split; empty without a run folder.
    """
    measured = "Nothing: there were no test images."
    if report.tested:
        metrics = report.tested.metrics
        rows = [(label, figure(metrics.get(name), 3)) for name, label in _FIGURES.items()]
        measured = _table(("figure", "value"), rows)
    return (
        "\n\n".join(
            [
                f"# Model card: {_cell(report.name)}",
                "Finds defects in images of one kind of surface, learnt from good images alone "
                "(self-supervised autoencoder, Bauer et al., arXiv 2206.11723). "
                + verdict(report.tested.verdicts if report.tested else ()),
                _table(("", ""), _facts(report, counts)),
                "## Good parts that it rejects",
                promise(report.calibrated),
                "## Measured",
                measured,
                "## Known limits",
                "\n".join(f"- {limit}" for limit in limits(report)),
            ]
        )
        + "\n"
    )


def _facts(report: Report, counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    used = ", ".join(f"{count} to {part}" for part, count in counts.items())
    yield "good images", used or f"{len(report.calibrated.scores)} to calibrate"
    yield "threshold", f"{report.threshold:.4g}, defects of at least {report.min_area} pixels"
    size = report.inspection_size
    yield "inspected at", f"{size[0]} × {size[1]} pixels" if size else "the images' own size"
    yield "settings", _settings(report.settings)
    yield "data hash", str(report.environment.get("data_hash", MISSING))
    known = [f"{one} {report.environment[one]}" for one in _VERSIONS if one in report.environment]
    yield "versions", ", ".join(known) or MISSING


def _settings(settings: Mapping[str, Any]) -> str:
    """The settings that people ask about, in one line; config.json has all."""
    if not settings:
        return MISSING
    training, model = settings["training"], settings["model"]
    stages = " → ".join(f"{one['steps']} at {one['size']}²" for one in training["stages"])
    start = settings.get("weights_from")
    return (
        f"preset {settings['preset']}, {model['answer']} network of width {model['width']:g}, "
        f"objective {settings['objective']['equation']}, steps {stages}, seed {training['seed']}"
        f"{f', from the weights of {start}' if start else ''}"
    )


def _table(header: tuple[str, str], rows: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> str:
    lines = [header, ("---", "---"), *rows]
    return "\n".join(f"| {_cell(left)} | {_cell(right)} |" for left, right in lines)


def _cell(text: str) -> str:
    """Text in one line that is no markup of a table."""
    return printable(text).replace("|", "\\|")
