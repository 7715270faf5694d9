"""Every state that a kill can leave of fit, fit --overwrite, calibrate, export and predict --out.

The files are written by the real code in its real order; what costs time in between, a network and
its images, is left out. `SSAE_TF_CRASH=all` looks at every state, the default at some of them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from crash.quick import network, seed_of
from crash.quick import put as put_quick
from crash.walk import State, read, some, states, write
from ssae_tf import config as config_module
from ssae_tf import files, workflow
from ssae_tf.cli import main
from ssae_tf.config import from_dict
from ssae_tf.detector import Detector
from ssae_tf.errors import RunError
from ssae_tf.export.artefact import find
from ssae_tf.export.place import choose_place, put, working_folder
from ssae_tf.files import write_json
from stand_ins import Listener

EVERY = 1 if os.environ.get("SSAE_TF_CRASH") == "all" else 7
OLD, NEW = 1, 2


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    put_quick(monkeypatch.setattr)


@pytest.fixture(params=["exchange", "rename"])
def swap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As most file systems can, and as some can't."""
    if request.param == "rename":
        monkeypatch.setattr(files, "exchange", lambda *_: False)
    return request.param


@pytest.fixture
def fit(sample_root: Path, quick: None) -> Callable[..., workflow.Fitted]:
    def call(out: Path, seed: int, overwrite: bool = False) -> workflow.Fitted:
        config = from_dict({"training": {"seed": seed}})
        return workflow.fit(
            sample_root, out=out, config=config, overwrite=overwrite, reporter=Listener()
        )

    return call


def _clean(root: Path) -> bool:
    """Whether nothing is left over."""
    return not list(root.rglob(".*")) and {path.name for path in root.iterdir()} == {"tile"}


def _tell(what: str, found: list[State], counts: Counter[str]) -> None:
    seen = counts.pop("states")
    summary = f"{what}: {seen} of {len(found)} states, {dict(counts) or 'nothing wrong'}"
    sys.stdout.write(f"\n{summary}\n")
    assert seen >= len(found) / EVERY
    assert not counts, summary


def _resumed(run: Path) -> int | None:
    """Which run `--resume` makes; None where it refuses."""
    try:
        workflow.resume(run, reporter=Listener())
    except RunError:
        return None
    return seed_of(run)


def test_fit(fit: Callable[..., workflow.Fitted], tmp_path: Path) -> None:
    root, again = tmp_path / "runs", tmp_path / "again"
    root.mkdir()
    found = states(root, lambda: fit(root / "tile", NEW))
    counts: Counter[str] = Counter()
    for state in some(found, EVERY):
        counts["states"] += 1
        run = write(state, again) / "tile"
        begun = run.exists()
        resumed = _resumed(run)
        if begun and not (resumed == NEW and _clean(again)):
            counts["--resume fails"] += 1
        run = write(state, again) / "tile"
        if (run / "checkpoints" / "state.npz").exists() or (run / "calibration.json").exists():
            # There is something to keep, and --resume goes on with it.
            continue
        fit(run, NEW)
        if not (seed_of(run) == NEW and _clean(again)):
            counts["the same command fails"] += 1
    _tell("fit", found, counts)


def test_fit_overwrite(fit: Callable[..., workflow.Fitted], tmp_path: Path, swap: str) -> None:
    root, again = tmp_path / "runs", tmp_path / "again"
    fit(root / "tile", OLD)
    found = states(root, lambda: fit(root / "tile", NEW, overwrite=True))
    counts: Counter[str] = Counter()
    for state in some(found, EVERY):
        counts["states"] += 1
        run = write(state, again) / "tile"
        if swap == "exchange" and not (run / "calibration.json").is_file():
            counts["neither old nor new under the name"] += 1
        if seed_of(run) not in (OLD, NEW):
            counts["neither old nor new"] += 1
        run = write(state, again) / "tile"
        # Before anything of the new one is there, the old one is finished.
        if not (_resumed(run) in (OLD, NEW) and _clean(again)):
            counts["--resume fails"] += 1
        run = write(state, again) / "tile"
        fit(run, NEW, overwrite=True)
        if not (seed_of(run) == NEW and _clean(again)):
            counts["the same command fails"] += 1
    _tell(f"fit --overwrite ({swap})", found, counts)


def test_calibrate(fit: Callable[..., workflow.Fitted], tmp_path: Path) -> None:
    root, again = tmp_path / "runs", tmp_path / "again"
    fit(root / "tile", NEW)
    complete = {path.relative_to(root) for path in root.rglob("*")}

    def calibrate(run: Path) -> None:
        workflow.calibrate(run, min_area=9, reporter=Listener())

    def areas(run: Path) -> tuple[int | None, int]:
        detector = Detector.load(run)
        assert detector.calibration is not None
        return detector.config.min_area, detector.calibration.min_area

    found = states(root, lambda: calibrate(root / "tile"))
    counts: Counter[str] = Counter()
    for state in found:
        counts["states"] += 1
        run = write(state, again) / "tile"
        if areas(run) not in ((None, 1), (9, 9)):
            counts["half of it"] += 1
        calibrate(run)
        left = {path.relative_to(again) for path in again.rglob("*")}
        if areas(run) != (9, 9) or left != complete:
            counts["the same command fails"] += 1
    assert areas(root / "tile") == (9, 9)
    assert config_module.load(root / "tile" / "config.json").min_area == 9
    _tell("calibrate", found, counts)


@pytest.mark.parametrize("name", ["savedmodel", "onnx"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_export(name: str, overwrite: bool, tmp_path: Path, swap: str) -> None:
    config = from_dict({"category": "tile", "training": {"seed": NEW}})
    detector = Detector(network(config), config)

    def export(root: Path, content: str, overwrite: bool) -> None:
        place = choose_place(root, detector, name, "float32", root / "tile", overwrite)
        with working_folder(place) as scratch:
            made = scratch / "artefact"
            (scratch / "saved_model").mkdir()
            (scratch / "saved_model" / "graph").write_text(content)
            for part in ("variables/data", "model"):
                (made / part).parent.mkdir(parents=True, exist_ok=True)
                (made / part).write_text(content)
            write_json(made / "parity.json", {})
            record = {"kind": "ssae_tf artefact", "files": {"model": "", "variables/data": ""}}
            write_json(made / "metadata.json", record)
            put(made, place)

    def content(root: Path) -> str | None:
        """Of the artefact that `predict` and TF Serving find, all of it."""
        folder = find(root / "tile")
        if folder is None:
            return None
        json.loads((folder / "metadata.json").read_text())
        (one,) = {(folder / part).read_text() for part in ("variables/data", "model")}
        return one

    root, again = tmp_path / "artefacts", tmp_path / "again"
    root.mkdir()
    if overwrite:
        export(root, "old", False)
    found = states(root, lambda: export(root, "new", overwrite))
    counts: Counter[str] = Counter()
    gone = 0
    for state in found:
        counts["states"] += 1
        write(state, again)
        seen = content(again)
        if overwrite and seen not in ("old", "new"):
            gone += 1
        is_there = seen is not None
        # What stands complete without --overwrite is kept.
        export(again, "new", overwrite or (is_there and name == "onnx"))
        if content(again) != "new" or not _clean(again):
            counts["the same command fails"] += 1
    shutil.rmtree(again)
    # Between the two renames.
    assert gone == (1 if overwrite and swap == "rename" else 0)
    _tell(f"export {name}{' --overwrite' if overwrite else ''} ({swap})", found, counts)


def test_predict(
    fit: Callable[..., workflow.Fitted], sample_root: Path, tmp_path: Path, quick: None
) -> None:
    run, image = tmp_path / "tile", next(sample_root.glob("*/test/good/*.png"))
    fit(run, NEW)
    root, again = tmp_path / "found", tmp_path / "again"
    root.mkdir()

    def predict(out: Path) -> None:
        assert main.run(["predict", str(run), str(image), "--out", str(out), "--quiet"]) == 0

    found = states(root, lambda: predict(root))
    whole = read(root)
    assert len(whole) == 4
    counts: Counter[str] = Counter()
    for state in found:
        counts["states"] += 1
        named = {name: content for name, content in state.items() if not name.startswith(".")}
        if not named.items() <= whole.items():
            counts["half a file under its name"] += 1
        predict(write(state, again))
        if read(again) != whole:
            counts["the same command fails"] += 1
    _tell("predict --out", found, counts)
