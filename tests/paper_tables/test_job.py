"""One run in a process of its own: what it tells, how it ends, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf import workflow
from ssae_tf.config import RunConfig
from ssae_tf.errors import SsaeError
from ssae_tf.paper_tables import job as job_module
from ssae_tf.paper_tables.job import Job, UnforeseenError, answer_to, do_apart
from ssae_tf.progress import Reporter
from ssae_tf.runtime.signals import Stopped, exit_code
from ssae_tf.training.loop import TrainingInterrupted

Child = Callable[[str], None]


@pytest.fixture
def job(sample_root: Path, tmp_path: Path, config: RunConfig) -> Job:
    return Job(tmp_path / "run", sample_root, "tile", config, 2.5, ("ssae-tf", "benchmark"))


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Child:
    """Has the other process run some code in place of a training."""

    def set_code(code: str) -> None:
        monkeypatch.setattr(job_module, "_CODE", f"import json, os, signal, sys, time\n{code}")

    return set_code


def _run(job: Job) -> dict[str, Any]:
    return do_apart(job, Reporter(quiet=True))


def test_a_job_as_text(job: Job) -> None:
    assert Job.from_json(job.to_json()) == job
    resumed = Job(Path("a/b"), Path("d"), "x", None)
    assert Job.from_json(resumed.to_json()) == resumed


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SsaeError("No such folder."), {"kind": "expected", "message": "No such folder."}),
        (
            TrainingInterrupted(3, 9, ".run.new", 15, "run"),
            {"kind": "interrupted", "facts": (3, 9, ".run.new", 15, "run")},
        ),
        (KeyboardInterrupt(), {"kind": "stopped"}),
        (ValueError("bad\nop"), {"kind": "unforeseen", "message": "ValueError: bad"}),
        (MemoryError(), {"kind": "unforeseen", "message": "MemoryError"}),
        (ValueError("x" * 400), {"kind": "unforeseen", "message": f"ValueError: {'x' * 299}…"}),
    ],
)
def test_what_goes_wrong_is_told(
    error: BaseException, expected: dict[str, Any], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(workflow, "fit", fit)
    monkeypatch.setattr(sys, "argv", ["-c"])
    answer = answer_to(job.to_json(), quiet=True)
    details = answer.pop("details", None)
    assert answer == expected
    assert (details or "").startswith("Traceback" if expected["kind"] == "unforeseen" else "")
    assert sys.argv == ["ssae-tf", "benchmark"]


def test_arguments_arrive(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def call(*arguments: Any, reporter: Reporter, **named: Any) -> workflow.Fitted:
        calls.append((*arguments, named, reporter.quiet))
        return workflow.Fitted(job.folder, None, {"n_test": 3})  # type: ignore[arg-type]

    monkeypatch.setattr(workflow, "fit", call)
    monkeypatch.setattr(workflow, "resume", call)
    monkeypatch.setattr(sys, "argv", ["-c"])
    expected = {"kind": "metrics", "metrics": {"n_test": 3}}
    assert answer_to(job.to_json(), quiet=False) == expected
    settings = {"out": job.folder, "config": job.config, "minutes": 2.5, "overwrite": True}
    assert calls.pop() == (job.data, "tile", settings, False)
    assert answer_to(Job(job.folder, job.data, "tile", None).to_json(), quiet=True) == expected
    assert calls.pop() == (job.folder, {}, True)


def test_an_answer_is_the_last_line(child: Child, job: Job) -> None:
    child("""print("noise"); print(json.dumps({"kind": "metrics", "metrics": {"n_test": 4}}))""")
    assert _run(job) == {"n_test": 4}


def test_the_job_and_the_path_arrive(child: Child, job: Job) -> None:
    child("""print(json.dumps({"kind": "metrics", "metrics": sys.argv[1:]}))""")
    path, text, quiet = _run(job)  # type: ignore[misc]
    assert (json.loads(path), Job.from_json(text), quiet) == (sys.path, job, "True")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("expected", SsaeError),
        ("unforeseen", UnforeseenError),
    ],
)
def test_an_error_comes_across(kind: str, error: type[Exception], child: Child, job: Job) -> None:
    answer = {"kind": kind, "message": "It broke.", "details": "Traceback"}
    child(f"print(json.dumps({answer}))")
    with pytest.raises(error, match=r"^It broke\.$") as caught:
        _run(job)
    assert type(caught.value) is error
    assert getattr(caught.value, "details", "Traceback") == "Traceback"


@pytest.mark.skipif(os.name == "nt", reason="no such signals on Windows")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "Its process was killed by signal 9, perhaps for want of memory.",
        ),
        ("os.kill(os.getpid(), signal.SIGTERM)", "Its process was killed by signal 15."),
        ("os._exit(5)", "Its process ended with exit code 5."),
        ("pass", "Its process ended with exit code 0."),
    ],
)
def test_a_process_that_dies(code: str, message: str, child: Child, job: Job) -> None:
    child(code)
    with pytest.raises(UnforeseenError) as error:
        _run(job)
    assert str(error.value) == message


@pytest.mark.skipif(os.name == "nt", reason="no such signals on Windows")
@pytest.mark.parametrize(
    ("answer", "error", "facts"),
    [
        (
            "print(json.dumps({'kind': 'interrupted', 'facts': [3, 9, 'x', 2, 'x']}))",
            *(TrainingInterrupted, (3, 9, "x", 2, "x")),
        ),
        ("print(json.dumps({'kind': 'stopped'}))", Stopped, ()),
        ("os._exit(1)", Stopped, ()),
    ],
)
def test_ctrl_c_is_passed_on(
    answer: str, error: type[BaseException], facts: tuple[Any, ...], child: Child, job: Job
) -> None:
    # It tells this process itself when it is ready to be interrupted.
    child(
        "try:\n"
        "    os.kill(os.getppid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        f"    {answer}"
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(error) as caught:
        _run(job)
    assert (exit_code(caught.value), caught.value.args) == (130, facts)
    assert signal.getsignal(signal.SIGINT) is before


def test_elsewhere_than_in_the_main_thread(child: Child, job: Job) -> None:
    child("""print(json.dumps({"kind": "metrics", "metrics": {}}))""")
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.append(_run(job)))
    thread.start()
    thread.join(60)
    assert found == [{}]


def test_nothing_outlives_the_parent() -> None:
    code = (
        "import threading, time\n"
        "from ssae_tf.paper_tables.job import _end_with_parent\n"
        "threading.Thread(target=_end_with_parent, daemon=True).start()\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path}\n{code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # As happens when the other end's process dies.
        process.stdin.close()
        assert process.wait(timeout=30) == 1
