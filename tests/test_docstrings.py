"""The examples in the docstrings of the public API run as they stand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ssae_tf
from docstring_examples import run_examples
from ssae_tf import config as config_module
from ssae_tf.detector import Detector
from ssae_tf.result import Result
from stand_ins import put_grey_network
from untrained import Stub


@pytest.fixture(autouse=True)
def _shop(
    sample_root: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A working folder with the images of the examples."""
    shutil.copytree(sample_root, tmp_path / "data")
    shutil.copy(sample_root / "tile" / "test" / "crack" / "000.png", tmp_path / "new.png")
    monkeypatch.chdir(tmp_path)


def test_fit(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The preset would train for minutes; `fit_arguments` of conftest.py are trained in earnest.
    tiny = config_module.load(run_folder / "config.json")
    monkeypatch.setattr(ssae_tf, "preset", lambda name, category: tiny)
    Stub.network_of = staticmethod(put_grey_network(monkeypatch, Stub))
    run_examples(ssae_tf.fit)


@pytest.mark.usefixtures("shared_network")
@pytest.mark.parametrize("owner", [Detector, Result])
def test_of_a_run(owner: type, run_folder: Path) -> None:
    shutil.copytree(run_folder, Path("runs") / "tile")
    run_examples(owner)


def test_an_example_that_says_something_else_is_seen() -> None:
    def wrong() -> None:
        """Adds.

        >>> 1 + 1
        3
        """

    with pytest.raises(AssertionError, match="Expected:\n    3\nGot:\n    2"):
        run_examples(wrong)
