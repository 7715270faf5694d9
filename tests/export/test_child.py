"""Work in a process of its own: whatever ends it, the caller gets one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ssae_tf.errors import DataError, RunError
from ssae_tf.export import child

HERE = "test_child_functions"


@pytest.fixture(autouse=True)
def _functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module for the child to find."""
    (tmp_path / f"{HERE}.py").write_text(
        "import os, signal, sys, time\n"
        "from ssae_tf.errors import DataError\n"
        "def add(one, other): return [one + other, os.getcwd()]\n"
        "def die(name):\n"
        "    print('last words', flush=True)\n"
        "    os.kill(os.getpid(), getattr(signal, name))\n"
        "def leave(code):\n"
        "    print('one\\ntwo\\nthree\\nfour', file=sys.stderr, flush=True)\n"
        "    os._exit(code)\n"
        "def sleep(): time.sleep(60)\n"
        "def tell_and_sleep(path):\n"
        "    open(path, 'w').write(str(os.getpid()))\n"
        "    time.sleep(300)\n"
        "def refuse(): raise DataError('no such image.')\n"
        "def fail(): raise ValueError('many\\nlines')\n"
        "def temporary(): import tempfile; return tempfile.mkdtemp()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_what_the_function_returns(tmp_path: Path) -> None:
    value, folder = child.call(f"{HERE}:add", one=1, other=2)
    assert value == 3
    assert folder != os.getcwd()
    assert child.call(f"{HERE}:add", one="a", other=str(tmp_path))[0] == f"a{tmp_path}"


def test_temporary_files_are_where_the_caller_sweeps(tmp_path: Path) -> None:
    made = child.call(f"{HERE}:temporary", scratch=tmp_path)
    assert Path(made).parent == tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_death_by_a_signal(name: str) -> None:
    with pytest.raises(RunError) as caught:
        child.call(f"{HERE}:die", name=name, what="The builder")
    assert str(caught.value) == f"The builder died ({name}): last words"


def test_an_exit_code() -> None:
    with pytest.raises(
        RunError, match=r"^The converter ended with exit code 7: two / three / four$"
    ):
        child.call(f"{HERE}:leave", code=7)


def test_time_is_limited() -> None:
    begin = time.monotonic()
    with pytest.raises(RunError, match=r"^The converter was stopped after 2 s; --time-limit"):
        child.call(f"{HERE}:sleep", time_limit=2)
    assert time.monotonic() - begin < 50


def test_errors_arrive_as_what_they_are() -> None:
    with pytest.raises(DataError, match=r"^no such image\.$"):
        child.call(f"{HERE}:refuse")
    with pytest.raises(RunError, match=r"^The converter failed: ValueError: many$"):
        child.call(f"{HERE}:fail")
    with pytest.raises(RunError, match="failed: AttributeError"):
        child.call(f"{HERE}:missing")
    with pytest.raises(RunError, match="failed: ModuleNotFoundError"):
        child.call("no_such_module:function")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_it_dies_with_its_parent_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    started = tmp_path / "started"
    call = f"child.call('{HERE}:tell_and_sleep', path={str(started)!r})"
    code = f"from ssae_tf.export import child; {call}"
    folders = [str(Path(child.__file__).parents[1]), *sys.path]
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, folders)]),
            "TMPDIR": str(tmp_path / "temporary"),
        },
    )
    assert _comes(lambda: started.is_file() and started.read_text() != "")
    number = int(started.read_text())
    parent.send_signal(getattr(signal, name))
    parent.wait()
    assert _comes(lambda: not _lives(number))
    assert list((tmp_path / "temporary").iterdir()) == []


def _comes(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def _lives(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_interruption_ends_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not hasattr(signal, "setitimer"):
        pytest.skip("no timers")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    begin = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            child.call(f"{HERE}:sleep")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begin < 50
