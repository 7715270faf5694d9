"""`ssae-tf calibrate`."""

from __future__ import annotations

from pathlib import Path

import click

from ssae_tf.cli import options


def _share(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """A number between 0 and 1, written as it is or in percent."""
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / (100.0 if value.endswith("%") else 1.0)
    except ValueError:
        share = -1.0
    if not 0.0 < share < 1.0:
        raise click.BadParameter(f"expected a share such as 1% or 0.01, received {value!r}.")
    return share


@click.command("calibrate", epilog="Example: ssae-tf calibrate runs/tile --min-area 40")
@click.argument("run", required=False, type=options.PATH)
@click.option(
    "--min-area",
    type=click.IntRange(min=1),
    help="Pixels a defect must have. [default: the run's setting]",
)
@click.option(
    "--max-false-alarms",
    callback=_share,
    metavar="RATE",
    help="Accepted share of good parts rejected, such as 1% or 0.01; refused where so few "
    "calibration images can't promise it. [default: the least that they can]",
)
@click.option(
    "--reject",
    callback=_share,
    metavar="RATE",
    help="With --review, in place of --max-false-alarms. [default: the least that the images can]",
)
@click.option(
    "--review",
    callback=_share,
    metavar="RATE",
    help="Sets a second, lower level: the accepted share of good parts reviewed or rejected.",
)
@click.option(
    "--data",
    type=options.PATH,
    help="Folder of good images, all of which are taken; or where the run's own data, with the "
    "same files, have moved: then its calibration images there. [default: those where they were]",
)
@click.option(
    "--without",
    multiple=True,
    metavar="NAME",
    help="File name of an image to leave out, from now on, because it is no good one; may be "
    "repeated.",
)
@click.option(
    "--with",
    "take_back",
    multiple=True,
    metavar="NAME",
    help="File name of an image to leave out no longer; may be repeated.",
)
@options.quiet
def command(
    run: Path | None,
    min_area: int | None,
    max_false_alarms: float | None,
    reject: float | None,
    review: float | None,
    data: Path | None,
    without: tuple[str, ...],
    take_back: tuple[str, ...],
    quiet: bool,
) -> None:
    """Set a run's threshold anew, without training.

    RUN is a run folder, by default the newest under runs/. The threshold is the highest score of
    normal images, or with --max-false-alarms the one that promises this rate; no defect is needed.
    Those that it comes from are named: look at them.

    --review 5% --reject 0.5% sets two levels: images between them are to be reviewed by a person.
    Without these options a run has one level again.
    """
    _check_rates(max_false_alarms, reject, review)
    report = options.reporter(quiet)
    folder = options.resolve_run(run, report)

    from ssae_tf import workflow
    from ssae_tf.runtime.threads import use_cores

    use_cores()
    detector = workflow.calibrate(
        folder,
        data=data,
        min_area=min_area,
        max_false_alarms=max_false_alarms if reject is None else reject,
        review=review,
        without=without,
        take_back=take_back,
        reporter=report,
    )
    calibration = detector.calibrated()
    click.echo(f"threshold {calibration.threshold!r}")
    if calibration.review_threshold is not None:
        click.echo(f"review_threshold {calibration.review_threshold!r}")
    click.echo(f"min_area {calibration.min_area}")


def _check_rates(
    max_false_alarms: float | None, reject: float | None, review: float | None
) -> None:
    if reject is not None and review is None:
        raise click.UsageError("--reject needs --review; --max-false-alarms sets one level alone.")
    if review is not None and max_false_alarms is not None:
        raise click.UsageError("--review goes with --reject, not with --max-false-alarms.")
    if reject is not None and review is not None and reject > review:
        raise click.UsageError(
            f"--reject {reject:.3g} is more than --review {review:.3g}, which includes it."
        )
