"""One run in a process of its own: what it tells, how it ends, and that nothing outlives it."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import children
from ssae_tf import workflow
from ssae_tf.config import RunConfig
from ssae_tf.errors import DataError, SsaeError
from ssae_tf.paper_tables.job import Job, UnforeseenError, Work, do, do_apart
from ssae_tf.progress import Reporter
from ssae_tf.runtime.signals import Stopped, exit_code
from ssae_tf.training.loop import TrainingInterrupted

QUIET = Reporter(quiet=True)


@pytest.fixture
def job(sample_root: Path, tmp_path: Path, config: RunConfig) -> Job:
    return Job(tmp_path / "run", sample_root, "tile", config, 2.5)


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (DataError("No such folder."), DataError, "No such folder."),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
        (ValueError("bad\nop"), UnforeseenError, "ValueError: bad"),
        (MemoryError(), UnforeseenError, "MemoryError"),
        (ValueError("x" * 400), UnforeseenError, f"ValueError: {'x' * 299}…"),
    ],
)
def test_what_goes_wrong_is_told(
    error: BaseException,
    raised: type[BaseException],
    message: str,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(workflow, "fit", fit)
    with pytest.raises(raised) as caught:
        do(job, QUIET)
    assert str(caught.value) == message
    assert getattr(caught.value, "details", "Traceback").startswith("Traceback")


def test_arguments_arrive(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def call(*arguments: Any, reporter: Reporter, **named: Any) -> workflow.Fitted:
        calls.append((*arguments, named, reporter.quiet))
        return workflow.Fitted(job.folder, None, {"n_test": 3})  # type: ignore[arg-type]

    monkeypatch.setattr(workflow, "fit", call)
    monkeypatch.setattr(workflow, "resume", call)
    assert do(job, Reporter()) == {"n_test": 3}
    settings = {"out": job.folder, "config": job.config, "minutes": 2.5, "overwrite": True}
    assert calls.pop() == (job.data, "tile", settings, False)
    assert do(Job(job.folder, job.data, "tile", None), QUIET) == {"n_test": 3}
    assert calls.pop() == (job.folder, {}, True)


def test_job_path_and_command_arrive_from_another_thread_too(
    job: Job, capfd: pytest.CaptureFixture[str]
) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(do_apart(job, QUIET, children.told)))
    thread.start()
    thread.join(60)
    assert found == [(job, True, sys.argv, sys.path)]
    # What is printed there is no result of the command.
    assert capfd.readouterr() == ("", "noise")


@pytest.mark.parametrize(
    ("work", "message", "details"),
    [
        (children.unforeseen, "It broke.", "Traceback"),
        (
            children.killed,
            *("Its process was killed by signal 9, perhaps for want of memory.", None),
        ),
        (children.ended, "Its process ended with exit code 5.", None),
    ],
)
def test_an_error_comes_across(work: Work, message: str, details: str | None, job: Job) -> None:
    with pytest.raises(UnforeseenError) as caught:
        do_apart(job, QUIET, work)
    assert (str(caught.value), caught.value.details) == (message, details)


@pytest.mark.parametrize(
    ("work", "error"),
    [(children.saves, SsaeError), (children.stops, Stopped), (children.dies_of_it, Stopped)],
)
def test_ctrl_c_is_passed_on(work: Work, error: type[BaseException], job: Job) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(error) as caught:
        do_apart(job, QUIET, work)
    assert exit_code(caught.value) == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_training_can_be_told_of() -> None:
    error = TrainingInterrupted(3, 9, ".run.new", 15, "run")
    told = pickle.loads(pickle.dumps(error))
    assert (vars(told), str(told)) == (vars(error), str(error))


def test_nothing_outlives_the_parent(job: Job, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        f"import sys; sys.path[:] = {sys.path}\n"
        "import children\n"
        "from pathlib import Path\n"
        "from ssae_tf.paper_tables.job import Job, do_apart\n"
        "from ssae_tf.progress import Reporter\n"
        "if __name__ == '__main__':\n"
        "    do_apart(Job(Path(), Path(), '', None), Reporter(), children.says_its_number)\n"
    )
    with subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stderr is not None
        child = int(parent.stderr.readline())
        parent.kill()
    end = time.monotonic() + 30
    while _lives(child) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _lives(child)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # Ended, and not yet collected by whoever took it over.
    return not Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].startswith(" Z")
