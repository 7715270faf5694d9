"""`ssae-tf fit`."""

from __future__ import annotations

from pathlib import Path

import click

from ssae_tf.cli import options


@click.command("fit", epilog="Example: ssae-tf fit --category tile --minutes 10")
@click.option("--category", help="Category under the data root.")
@options.data
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/CATEGORY]")
@click.option("--overwrite", is_flag=True, help="Replace an existing run folder.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with an interrupted run, with its own settings.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Time for training, turned into a number of steps at the start.",
)
@options.settings
@options.quiet
@click.pass_context
def command(
    ctx: click.Context,
    /,
    category: str | None,
    data: Path | None,
    out: Path | None,
    overwrite: bool,
    resume: Path | None,
    minutes: float | None,
    quiet: bool,
    **settings: object,
) -> None:
    """Train, calibrate and evaluate a detector.

    Trains on good pictures alone, sets the threshold on good pictures kept apart, and measures the
    detector where there is a test set. Makes a run folder. Ctrl-C saves, --resume goes on.
    """
    report = options.reporter(quiet)
    if resume is not None:
        given = [
            f"--{name.replace('_', '-')}"
            for name in ctx.params
            if name not in ("resume", "quiet")
            and ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        ]
        if given:
            raise click.UsageError(
                f"--resume takes all settings from the run; leave out {', '.join(given)}."
            )

        from ssae_tf import workflow

        fitted = workflow.resume(resume, reporter=report)
    else:
        root = options.resolve_data(data, report)

        from ssae_tf import workflow
        from ssae_tf.data.mvtec import load_category

        name = load_category(root, category).name
        config = options.build_config(settings, name, report)
        fitted = workflow.fit(
            root,
            category,
            out=out,
            config=config,
            minutes=minutes,
            overwrite=overwrite,
            reporter=report,
        )
    if fitted.metrics is not None:
        options.print_metrics(fitted.metrics)
        report.say(f"Sheets of the best, median and worst pictures: {fitted.folder / 'sheets'}")
    click.echo(str(fitted.folder))
