"""`ssae-tf watch`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssae_tf.cli import options
from ssae_tf.cli.main import ExitCode

if TYPE_CHECKING:
    from ssae_tf.detector import Detector
    from ssae_tf.export.artefact import Artefact
    from ssae_tf.progress import Reporter
    from ssae_tf.watch import Reference


@click.command("watch", epilog="Example: ssae-tf watch runs/tile camera/ --out watched")
@click.argument("run", type=options.PATH)
@click.argument("folder", type=options.PATH)
@click.option(
    "--out",
    required=True,
    type=options.PATH,
    help="Folder of results.jsonl, which a restart goes on with.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds between two looks; an image that stays the same over two has arrived.",
)
@click.option("--once", is_flag=True, help="Inspect what is there, and end.")
@click.option(
    "--drift-alarms",
    type=click.FloatRange(min=0, min_open=True, max=365, clamp=False),
    default=0.1,
    show_default=True,
    metavar="NUMBER",
    help="False alarms of drift a year that are accepted, on average.",
)
@click.option(
    "--metrics",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Serve Prometheus metrics at this port of the loopback address (ssae-tf[watch]).",
)
@options.quiet
@click.pass_context
def command(
    ctx: click.Context,
    run: Path,
    folder: Path,
    out: Path,
    interval: float,
    once: bool,
    drift_alarms: float,
    metrics: int | None,
    quiet: bool,
) -> None:
    """Inspect images as they arrive in a folder, and notice drift.

    RUN is a run folder, or an artefact of `ssae-tf export`. Each image of FOLDER gives one JSON
    line, on stdout and in OUT/results.jsonl, an image that fails one with `error`; nothing is
    moved. Images that the file has, by name, size and time, are done. A line with `drift` says that
    scores, or the share rejected, are no longer what they were. Ends with Ctrl-C or SIGTERM,
    between two images; with --once the exit code is 3 if one has failed.
    """
    report = options.reporter(quiet)
    if metrics is not None:
        from ssae_tf import watch_metrics

        watch_metrics.check()

    from ssae_tf.export.artefact import open_detector
    from ssae_tf.runtime import signals
    from ssae_tf.watch import watch

    detector = open_detector(run)
    reference = _reference(detector, drift_alarms, report)
    failed = 0
    more: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        signal = stack.enter_context(signals.noticed())
        served = None
        if metrics is not None:
            served = stack.enter_context(
                contextlib.closing(watch_metrics.Metrics(metrics, reference.threshold))
            )
            more["drifting"] = served.drifting
        for line in watch(
            detector,
            reference,
            folder,
            out,
            report,
            interval=interval,
            once=once,
            stopped=lambda: bool(signal.number),
            **more,
        ):
            if served is not None:
                served.add(line)
            failed += "error" in line
            if "drift" in line:
                report.warn(line["drift"]["message"])
            options.print_json(line)
    if signal.number:
        ctx.exit(128 + signal.number)
    if failed:
        ctx.exit(ExitCode.PARTIAL)


def _reference(
    detector: Detector | Artefact, alarms_per_year: float, report: Reporter
) -> Reference:
    """What drift is measured from: scores of calibration images that training has not seen."""
    from ssae_tf.export.artefact import Artefact
    from ssae_tf.watch import Reference

    if isinstance(detector, Artefact):
        scores, threshold = tuple(detector.good_scores), detector.threshold
    else:
        calibration = detector.calibrated()
        scores, threshold = calibration.unseen_scores, calibration.threshold
    if not scores:
        # Those that training has seen score lower than new ones, which would pass for drift.
        report.say(
            "Drift is measured from the first images of service on: training has seen calibration "
            "images, or the run does not say."
        )
    return Reference(scores, threshold, alarms_per_year)
