"""`ssae-tf calibrate`."""

from __future__ import annotations

from pathlib import Path

import click

from ssae_tf.cli import options


@click.command("calibrate", epilog="Example: ssae-tf calibrate runs/tile --min-area 40")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--min-area",
    type=click.IntRange(min=1),
    help="Pixels a defect must have. [default: the run's setting]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of good images, all of which are taken; or where the run's own data, with the "
    "same files, have moved: then its calibration images there. [default: those where they were]",
)
@click.option(
    "--without",
    multiple=True,
    metavar="NAME",
    help="File name of a picture to leave out, because it is no good one; may be repeated.",
)
@options.quiet
def command(
    run: Path | None, min_area: int | None, data: Path | None, without: tuple[str, ...], quiet: bool
) -> None:
    """Set a run's threshold anew, without training.

    RUN is a run folder, by default the newest under runs/. The threshold is the highest score of
    normal pictures, and of a gate at least one half; no defect is needed. Those that it comes from
    are named: look at them.
    """
    report = options.reporter(quiet)
    folder = options.resolve_run(run, report)

    from ssae_tf import workflow
    from ssae_tf.training.threads import use_cores

    use_cores()
    detector = workflow.calibrate(
        folder, data=data, min_area=min_area, without=without, reporter=report
    )
    assert detector.calibration is not None
    click.echo(f"threshold {detector.calibration.threshold!r}")
    click.echo(f"min_area {detector.calibration.min_area}")
