"""`ssae-tf fit`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from ssae_tf.cli import options
from ssae_tf.runtime.signals import exit_code


def _devices(_: click.Context, __: click.Parameter, text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise click.BadParameter(f'Expected a number above 0, or "all". Received: {text}.')
    return int(text)


@click.command("fit", epilog="Example: ssae-tf fit --category tile --minutes 10")
@options.category
@options.data
@click.option("--out", type=options.PATH, help="Run folder. [default: runs/CATEGORY]")
@click.option(
    "--overwrite", is_flag=True, help="Replace an existing run, once the new one is complete."
)
@click.option(
    "--resume",
    type=options.PATH,
    metavar="RUN",
    help="Go on with an interrupted run, with its own settings; --data only where its own "
    "images have moved.",
)
@click.option(
    "--from",
    "weights_from",
    type=options.PATH,
    metavar="RUN",
    help="Start from the weights and settings of a finished run, on new images; it stays as it is.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Time for training, turned into a number of steps at the start.",
)
@click.option(
    "--devices",
    default="1",
    callback=_devices,
    metavar="N|all",
    help="Devices that share the images of a step: GPUs, of each worker where TF_CONFIG names "
    "several.  [default: 1]",
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
    weights_from: Path | None,
    minutes: float | None,
    devices: int | Literal["all"],
    quiet: bool,
    **settings: object,
) -> None:
    """Train, calibrate and evaluate a detector.

    Trains on good images alone, sets the threshold on good images kept apart, and measures the
    detector where there is a test set. Makes a run folder. Ctrl-C saves, as SIGTERM and SIGHUP do;
    --resume goes on.
    """
    report = options.reporter(quiet)
    options.check_budget(minutes, settings)
    if resume is not None:
        given = _given(ctx, besides=("resume", "data", "devices", "quiet"))
        if given:
            raise click.UsageError(
                f"--resume takes all settings from the run; leave out {', '.join(given)}."
            )
    if weights_from is not None and settings["preset"] is not None:
        raise click.UsageError("--from takes the settings of the run; leave out --preset.")

    from ssae_tf import worker, workflow
    from ssae_tf.data.mvtec import category_name
    from ssae_tf.run_folder import REPORT_FILE
    from ssae_tf.training.loop import TrainingInterrupted
    from ssae_tf.training.replicas import is_chief, strategy_for
    from ssae_tf.warm_start import settings_of

    # Before anything else runs in TensorFlow.
    strategy = strategy_for(devices)
    common: dict[str, Any] = {"strategy": strategy, "reporter": report}
    try:
        if resume is not None and is_chief(strategy):
            fitted = workflow.resume(resume, data=data, **common)
        elif resume is not None:
            worker.assist_resume(resume, data=data, **common)
            return
        else:
            start = None if weights_from is None else settings_of(weights_from)
            root = options.resolve_data(data, report)
            category = options.choose_category(category, settings)
            name = category_name(root, category)
            config = options.build_config(settings, name, report, start)
            if not is_chief(strategy):
                worker.assist_fit(root, category, config, minutes=minutes, **common)
                return
            fitted = workflow.fit(
                root,
                category,
                out=out,
                config=config,
                minutes=minutes,
                overwrite=overwrite,
                **common,
            )
    except TrainingInterrupted as error:
        click.echo(str(error), err=True)
        ctx.exit(exit_code(error))
    if fitted.metrics is not None:
        options.print_metrics(fitted.metrics)
        report.say(f"Sheets of the best, median and worst images: {fitted.folder / 'sheets'}")
    if (fitted.folder / REPORT_FILE).is_file():
        report.say(f"Report: {fitted.folder / REPORT_FILE}")
    report.say(_next(fitted.folder, fitted.metrics is not None))
    options.print_path(fitted.folder)


def _next(folder: Path, is_measured: bool) -> str:
    """What to do with a run."""
    run = shlex.quote(str(folder))
    then = f"`ssae-tf export {run} --format FORMAT` makes an artefact for other programs."
    if not is_measured:
        then = f"`ssae-tf evaluate {run} --good DIR --bad DIR` says how well it finds defects."
    return f"Next: `ssae-tf predict {run} IMAGES --report found.html` inspects images; {then}"


def _given(ctx: click.Context, besides: tuple[str, ...]) -> list[str]:
    """The options on the command line, as they are written there."""
    return [
        parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name is not None
        and parameter.name not in besides
        and parameter.expose_value
        and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
