"""`ssae-tf latency`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from ssae_tf.cli import options


class _Size(click.ParamType):
    """512 or 480x640 as (height, width)."""

    name = "side"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        match = re.fullmatch(r"([0-9]+)(?:x([0-9]+))?", value)
        if match is None:
            self.fail(f"Expected 512 or 480x640. Received: {value}.", param, ctx)
        height, width = match.groups()
        return int(height), int(width or height)


@click.command("latency", epilog="Example: ssae-tf latency runs/tile --size 512")
@click.argument("run", type=options.PATH)
@click.option(
    "--size",
    type=_Size(),
    help="Of the image, pixels: its side, or HEIGHTxWIDTH. [default: 512, or what the artefact "
    "takes]",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=50, show_default=True, help="That count."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, no table.")
@options.quiet
def command(
    run: Path, size: tuple[int, int] | None, rounds: int, as_json: bool, quiet: bool
) -> None:
    """Time one image, part by part.

    RUN is a run folder, or an artefact of `ssae-tf export`. Prints the median and the 95th and 99th
    percentile of decoding, network, scoring and post-processing, and of `predict` as a whole, for a
    PNG of the sample surface, one at a time, in milliseconds; with --json in seconds. In an
    artefact network and scoring are one.
    """
    report = options.reporter(quiet)

    from ssae_tf.export.artefact import Artefact, open_detector
    from ssae_tf.export.latency import latency_table, measure

    detector = open_detector(run)
    if size is None:
        fixed = detector.image_size if isinstance(detector, Artefact) else None
        size = fixed or (512, 512)
    measured = measure(detector, size, rounds, report)
    if as_json:
        options.print_json(measured, indent=2)
    else:
        options.print_table(latency_table(measured))
