"""`ssae-tf selftest`."""

from __future__ import annotations

from pathlib import Path

import click

from ssae_tf.cli import options
from ssae_tf.errors import RunError


@click.command("selftest", epilog="Example: ssae-tf selftest runs/tile/export/onnx")
@click.argument("run", type=options.PATH)
@options.quiet
def command(run: Path, quiet: bool) -> None:
    """Check that a run inspects here as where it was made.

    RUN is a run folder, or an artefact of `ssae-tf export`. Its golden images, a few good ones and
    corrupted copies, are inspected and their scores compared with those recorded; what may differ
    is what an export may: a share of the threshold, by format and precision.
    """
    report = options.reporter(quiet)

    from ssae_tf.detector import Detector
    from ssae_tf.export.artefact import open_detector
    from ssae_tf.export.formats import FORMATS
    from ssae_tf.golden import compare_golden

    detector = open_detector(run)
    if isinstance(detector, Detector):
        # What an artefact that computes alike may differ by.
        tolerance = FORMATS["savedmodel"].tolerance("float32", detector.calibrated().threshold)
        compared = list(compare_golden(detector, run))
    else:
        precision = detector.metadata["precision"]
        tolerance = detector.format.tolerance(precision, detector.threshold)
        compared = list(compare_golden(detector, detector.folder))
    for one in compared:
        verdict = "anomalous" if one.is_anomalous else "normal"
        other = "" if one.is_anomalous == one.was_anomalous else ", the verdict is another"
        click.echo(
            f"{one.name}: score {one.score:.6g}, expected {one.expected:.6g}; {verdict}{other}"
        )
    worst = max(compared, key=lambda one: one.difference)
    # Not `>`, which NaN would pass.
    if not worst.difference <= tolerance:
        raise RunError(
            f"{run}: {worst.name} scores {worst.score:.4g} on this machine and "
            f"{worst.expected:.4g} where it was made, which differ by {worst.difference:.2g}, more "
            f"than {tolerance:.2g}: don't use it here."
        )
    report.say(
        f"{len(compared)} golden images: scores differ by {worst.difference:.1e} at most "
        f"(tolerance {tolerance:.1e}): this machine inspects as the one that made it."
    )
