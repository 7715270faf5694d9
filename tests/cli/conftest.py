"""What the tests of the commands share: a command line run in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.cli.main import run


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command line did.

    Attributes:
        code: its exit code.
        out, err: what it wrote, as lines.
    """

    code: int
    out: list[str]
    err: list[str]

    @property
    def error(self) -> str:
        """The last line of stderr."""
        return self.err[-1]


@pytest.fixture
def invoke(capfd: pytest.CaptureFixture[str], shared_network: None) -> Callable[..., Done]:
    """Runs `ssae-tf` with some arguments."""

    def call(*arguments: object) -> Done:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Done(code, captured.out.splitlines(), captured.err.splitlines())

    return call


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Has `fit` train nothing; gives the arguments of the calls of `workflow.fit`."""
    from ssae_tf import workflow

    calls: list[dict[str, Any]] = []

    def fit(data: Path, category: str | None, **arguments: Any) -> workflow.Fitted:
        calls.append({"data": data, "category": category, **arguments})
        return workflow.Fitted(Path("made/here"), None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(workflow, "fit", fit)
    return calls


@pytest.fixture
def empty_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing them takes long, and is tested elsewhere."""
    from ssae_tf.evaluation import run as evaluation_run

    def write_sheet(path: Path, *_: object, **__: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    monkeypatch.setattr(evaluation_run, "write_sheet", write_sheet)
