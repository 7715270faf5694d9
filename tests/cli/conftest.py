"""What stands in for the slow parts of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


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
