"""Work in a process of its own: what converters and builders do can end it, and only it.

It dies with the process that waits for it, and its temporary files are in that one's folder:
whatever kills that one, nothing is left elsewhere.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ssae_tf
from ssae_tf import errors
from ssae_tf.errors import RunError, SsaeError, one_line
from ssae_tf.files import write_error

# Seconds.
TIME_LIMIT = 1800.0
# Of what the child printed, as much as may say why it failed.
_LAST_LINES = 3
# Of Linux: <sys/prctl.h>.
_PR_SET_PDEATHSIG = 1
# Python looks for modules in the working folder first.
_CODE = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; "
    "from ssae_tf.export.child import main; main()"
)


def call(
    function: str,
    *,
    time_limit: float = TIME_LIMIT,
    what: str = "The converter",
    scratch: Path | None = None,
    **arguments: Any,
) -> Any:
    """Calls a function in a new Python process.

    Args:
        function: "module:name".
        time_limit: seconds.
        what: the process in messages.
        scratch: folder for temporary files; None for the system's.
        arguments: of the function: what JSON can hold, and paths, which arrive as text.

    Returns:
        What the function returned, through JSON.

    Raises:
        SsaeError: what the function raised of this package's errors.
        RunError: it raised anything else, took too long, or the process died.
    """
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as log:
        task = {
            "function": function,
            "arguments": arguments,
            "answer": answer.fileno(),
            "parent": os.getpid(),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_environment(scratch),
            pass_fds=[answer.fileno()],
        )
        try:
            process.communicate(json.dumps(task, default=os.fspath).encode(), time_limit)
        except subprocess.TimeoutExpired:
            raise RunError(
                f"{what} was stopped after {time_limit:g} s; --time-limit gives it longer."
            ) from None
        finally:
            # Also after Ctrl-C.
            process.kill()
            process.wait()
        answer.seek(0)
        if process.returncode == 0 and (text := answer.read()):
            return _answer(json.loads(text), what)
        log.seek(0)
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
    said = " / ".join(line.strip() for line in lines[-_LAST_LINES:])
    raise RunError(f"{what} {_end(process.returncode)}{f': {said}' if said else '.'}")


def main() -> None:
    """What the child runs: the task comes on standard input, the answer goes to a file."""
    task = json.loads(sys.stdin.buffer.read())
    _die_with(task["parent"])
    module, name = task["function"].split(":")
    try:
        value = getattr(importlib.import_module(module), name)(**task["arguments"])
        answer: dict[str, Any] = {"value": value}
    except SsaeError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except Exception as error:
        # Its text alone may be cut off before the system's words.
        full = write_error(error, Path(str(task["arguments"].get("out", tempfile.gettempdir()))))
        kind = type(full).__name__ if full else ""
        answer = {"error": kind, "message": str(full or one_line(error))}
    with os.fdopen(task["answer"], "wb") as file:
        file.write(json.dumps(answer).encode())
    sys.stdout.flush()
    # Libraries that crash while they are unloaded have done their work.
    os._exit(0)


def _die_with(parent: int) -> None:
    """Has Linux kill this process when its parent dies; other systems let it live on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _answer(answer: dict[str, Any], what: str) -> Any:
    if "error" not in answer:
        return answer["value"]
    if answer["error"]:
        raise getattr(errors, answer["error"], RunError)(answer["message"])
    raise RunError(f"{what} failed: {answer['message']}")


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"died ({name})"


def _environment(scratch: Path | None) -> dict[str, str]:
    """That of this process, in which this package is found from every folder."""
    folders = [str(Path(ssae_tf.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folder for folder in folders if folder),
        **({} if scratch is None else {"TMPDIR": str(scratch.resolve())}),
    }
