"""One run, here or in a process of its own.

A process of its own gives everything back at its end: TensorFlow keeps the graph of a training step
for as long as its process lives, and with it the decoded images of its input pipeline. It also
keeps a crash, or the system's killer of processes that take too much memory, from ending the runs
that are still to come.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig
from ssae_tf.errors import SsaeError, one_line
from ssae_tf.progress import Reporter
from ssae_tf.runtime.signals import Stopped, noticed
from ssae_tf.runtime.streams import stderr_held_back

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from ssae_tf.paper_tables.job import serve; serve(sys.argv[2])"
)


class UnforeseenError(Exception):
    """A run ended with an exception that nobody foresaw, or its process died.

    Attributes:
        details: the traceback; None when there is none.
    """

    def __init__(self, message: str, details: str | None = None) -> None:
        super().__init__(message)
        self.details = details


@dataclasses.dataclass(frozen=True)
class Job:
    """One run to do.

    Attributes:
        folder: its run folder.
        data: the root of the categories.
        category: one of them.
        config: all settings; None to go on with what is in the folder.
        minutes: that training should take; None for the steps of `config`.
        command: what the person typed, for the run's records.
    """

    folder: Path
    data: Path
    category: str
    config: RunConfig | None
    minutes: float | None = None
    command: tuple[str, ...] = ()

    def to_json(self) -> str:
        """All of it as text; `from_json` takes it back."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.config is not None:
            values["config"] = config_module.to_dict(self.config)
        return json.dumps({**values, "folder": str(self.folder), "data": str(self.data)})

    @classmethod
    def from_json(cls, text: str) -> Job:
        """What `to_json` made."""
        values = json.loads(text)
        if values["config"] is not None:
            values["config"] = config_module.from_dict(values["config"])
        paths = {name: Path(values[name]) for name in ("folder", "data")}
        return cls(**{**values, **paths, "command": tuple(values["command"])})


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
    from ssae_tf import workflow

    try:
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


def do_apart(job: Job, reporter: Reporter) -> dict[str, Any]:
    """As `do`, in a process of its own; of the reporter only `quiet` counts."""
    from ssae_tf.training.loop import TrainingInterrupted

    process = subprocess.Popen(
        [sys.executable, "-c", _CODE, json.dumps(sys.path), job.to_json(), str(reporter.quiet)],
        # Never written to: the other end notices when this process has died.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C comes to this process alone, which passes it on: once, not twice.
        start_new_session=True,
    )
    with process, noticed(process.send_signal) as interrupted:
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        code = process.wait()
    if code or not lines:
        if interrupted.number:
            raise Stopped(interrupted.number)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise UnforeseenError(
            f"Its process {how}" + (", perhaps for want of memory." if code == -9 else ".")
        )
    answer = json.loads(lines[-1])
    if answer["kind"] == "metrics":
        return answer["metrics"]
    if answer["kind"] == "interrupted":
        raise TrainingInterrupted(*answer["facts"])
    if answer["kind"] == "stopped":
        raise Stopped(interrupted.number or signal.SIGINT)
    if answer["kind"] == "expected":
        raise SsaeError(answer["message"])
    raise UnforeseenError(answer["message"], answer["details"])


def serve(text: str) -> None:
    """What the other process does: the run, and then one line of JSON on stdout.

    Args:
        text: the job. sys.argv[3] says whether to be quiet.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(json.dumps(answer_to(text, quiet=sys.argv[3] == "True")))  # noqa: T201


def answer_to(text: str, *, quiet: bool) -> dict[str, Any]:
    """Does a run and tells how it went, whatever happens.

    Args:
        text: the job.
        quiet: no progress.

    Returns:
        `kind` "metrics" with `metrics`, "interrupted" with the `facts` of `TrainingInterrupted`,
        "stopped", or "expected" or "unforeseen" with `message`, the last with `details` as well.
    """
    try:
        # TensorFlow's start-up messages would come once for each run.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with stderr_held_back():
            from ssae_tf.runtime.threads import look_for_devices
            from ssae_tf.training.loop import TrainingInterrupted

            look_for_devices()
        job = Job.from_json(text)
        # environment.json should say what the person typed.
        sys.argv = list(job.command)
        try:
            return {"kind": "metrics", "metrics": do(job, Reporter(quiet=quiet))}
        except TrainingInterrupted as error:
            return {"kind": "interrupted", "facts": error.args}
    except KeyboardInterrupt:
        return {"kind": "stopped"}
    except SsaeError as error:
        return {"kind": "expected", "message": str(error)}
    except UnforeseenError as error:
        return {"kind": "unforeseen", "message": str(error), "details": error.details}


def _end_with_parent() -> None:
    # Not sys.stdin, whose lock a waiting thread would still hold when the interpreter ends.
    while os.read(0, 1):
        pass
    os._exit(1)
