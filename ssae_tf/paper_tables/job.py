"""One run, here or in a process of its own.

A process of its own gives everything back at its end: TensorFlow keeps the graph of a training step
for as long as its process lives, and with it the decoded images of its input pipeline. It also
keeps a crash, or the system's killer of processes that take too much memory, from ending the runs
that are still to come.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ssae_tf.config import RunConfig
from ssae_tf.errors import SsaeError, one_line
from ssae_tf.progress import Reporter
from ssae_tf.runtime.signals import Stopped, noticed
from ssae_tf.runtime.streams import stderr_held_back


class UnforeseenError(Exception):
    """A run ended with an exception that nobody foresaw, or its process died.

    Attributes:
        details: the traceback; None when there is none.
    """

    def __init__(self, message: str, details: str | None = None) -> None:
        super().__init__(message, details)
        self.details = details

    def __str__(self) -> str:
        return str(self.args[0])


@dataclasses.dataclass(frozen=True)
class Job:
    """One run to do.

    Attributes:
        folder: its run folder.
        data: the root of the categories.
        category: one of them.
        config: all settings; None to go on with what is in the folder.
        minutes: that training should take; None for the steps of `config`.
    """

    folder: Path
    data: Path
    category: str
    config: RunConfig | None
    minutes: float | None = None


Work = Callable[[Job, Reporter], dict[str, Any]]


def do(job: Job, reporter: Reporter) -> dict[str, Any]:
    """Does a run in this process.

    Args:
        job: the run; its category has test images.
        reporter: where progress goes.

    Returns:
        The content of its metrics.json.

    Raises:
        SsaeError: it can't be trained or measured.
        TrainingInterrupted: Ctrl-C, SIGTERM or SIGHUP; `config=None` goes on.
        KeyboardInterrupt: the same before there is anything to go on with.
        UnforeseenError: anything else.
    """
    try:
        from ssae_tf import workflow

        if job.config is None:
            fitted = workflow.resume(job.folder, reporter=reporter)
        else:
            fitted = workflow.fit(
                job.data,
                job.category,
                out=job.folder,
                config=job.config,
                minutes=job.minutes,
                # What is there stays until the new run is complete.
                overwrite=True,
                reporter=reporter,
            )
    except SsaeError:
        raise
    except Exception as error:
        raise UnforeseenError(one_line(error), traceback.format_exc()) from error
    assert fitted.metrics is not None, "categories without test images are left out before"
    return fitted.metrics


def do_alone(job: Job, reporter: Reporter) -> dict[str, Any]:
    """As `do`, in a process that has done nothing else."""
    # TensorFlow's start-up messages would come once for each run.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with stderr_held_back():
        from ssae_tf.runtime.threads import look_for_devices

        look_for_devices()
    return do(job, reporter)


def do_apart(job: Job, reporter: Reporter, work: Work = do_alone) -> dict[str, Any]:
    """As `do`, in a process of its own; of the reporter only `quiet` counts."""
    context = multiprocessing.get_context("spawn")
    answer, end = context.Pipe(duplex=False)
    # A daemon, so that nobody waits for it where this process is to end at once.
    process = context.Process(target=_serve, args=(work, job, reporter.quiet, end), daemon=True)
    process.start()
    end.close()
    assert process.pid is not None
    with answer, noticed(functools.partial(os.kill, process.pid)) as interrupted:
        try:
            outcome = answer.recv()
        except EOFError:
            outcome = None
        process.join()
    if isinstance(outcome, KeyboardInterrupt) or (outcome is None and interrupted.number):
        raise Stopped(interrupted.number or signal.SIGINT)
    if outcome is None:
        code = process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise UnforeseenError(
            f"Its process {how}" + (", perhaps for want of memory." if code == -9 else ".")
        )
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _serve(work: Work, job: Job, quiet: bool, answer: Connection) -> None:
    """What the other process does: sends what it finds, or what is raised."""
    # Ctrl-C comes to the parent alone, which passes it on: once, not twice.
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Results are on stdout, and nothing that is printed here is one.
    os.dup2(2, 1)
    try:
        answer.send(work(job, Reporter(quiet=quiet)))
    except KeyboardInterrupt:
        # A `Stopped` can't be sent, and its signal came from the parent.
        answer.send(KeyboardInterrupt())
    except (SsaeError, UnforeseenError) as error:
        answer.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
