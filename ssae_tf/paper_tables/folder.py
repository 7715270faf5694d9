"""A benchmark's folder: what is there already, and whether it can be gone on with.

Runs are in DIR/METHOD/CATEGORY, what was found of them in DIR: tables.md, table2.csv and others,
index.html, and benchmark.json, which also marks the folder as a benchmark's.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig, Stage
from ssae_tf.data.mvtec import Category
from ssae_tf.data.split import data_hash
from ssae_tf.errors import RunError, SsaeError
from ssae_tf.files import read_json
from ssae_tf.paper_tables.methods import Method
from ssae_tf.paper_tables.results import Budget
from ssae_tf.run_folder import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    METRICS_FILE,
    SPLIT_FILE,
    beside,
    contents,
    has_checkpoint,
    is_finished,
    read_mark,
)
from ssae_tf.run_making import is_to_become
from ssae_tf.runtime.lock import LOCK_FILE
from ssae_tf.schemas import SplitFile, read

RECORD_FILE = "benchmark.json"


def run_folder(out: Path, method: Method, category: str) -> Path:
    """Where a run is kept."""
    return out / method.name / category


def recorded_budgets(out: Path, study: str | None) -> dict[str, Budget]:
    """The budgets of the sessions before, of a plan with the same study.

    Raises:
        RunError: the folder holds something else, a benchmark of another kind, or a broken record.
    """
    path = out / RECORD_FILE
    try:
        names = {path.name for path in out.iterdir()} if out.is_dir() else set()
        is_empty = not out.exists() or (out.is_dir() and names <= {LOCK_FILE})
    except OSError as error:
        raise RunError(f"{out}: can't be read ({error.strerror}).") from None
    if is_empty:
        return {}
    if not path.is_file():
        raise RunError(f"{out}: exists and holds no benchmark; choose another with --out.")
    record = read_json(path)
    try:
        known = record["study"]
        budgets = TypeAdapter(dict[str, Budget]).validate_python(record["budgets"])
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{path}: is no record of a benchmark; choose another --out.") from None
    if known != study:
        kinds = [f"the study {kind!r}" if kind else "a comparison" for kind in (known, study)]
        raise RunError(f"{out}: holds {kinds[0]}, this is {kinds[1]}; choose another --out.")
    return budgets


def timed_stages(folder: Path) -> tuple[Stage, ...] | None:
    """The stages of a run that has been timed, or None when it has not come so far."""
    try:
        return config_module.load(folder / CONFIG_FILE).training.stages
    except SsaeError:
        return None


def timed_aside(folder: Path, wanted: RunConfig, minutes: float) -> tuple[Stage, ...] | None:
    """The stages of a run that was timed to replace another, and was broken off.

    Args:
        folder: of the run to be replaced.
        wanted: the settings it was begun with, before they had their steps.
        minutes: that it was to take.
    """
    place = newer(folder)
    request = None if place is None else read_mark(place).request  # type: ignore[union-attr]
    if place is None or request is None or request["minutes"] != minutes:
        return None
    return timed_stages(place) if request["config"] == config_module.to_dict(wanted) else None


def newer(folder: Path) -> Path | None:
    """The folder in which a run was being made that is to replace another."""
    new = beside(folder)[0]
    return new if is_to_become(new, folder) else None


def difference(
    folder: Path, wanted: RunConfig | None, minutes: float | None, category: Category
) -> str | None:
    """Why a run folder is not one of this benchmark.

    Args:
        folder: of the run.
        wanted: the settings it should have; None when the number of steps is not known yet.
        minutes: of the plan.
        category: the images.

    Returns:
        The rest of a sentence that begins with "was made"; None for a run that fits, and where
        nothing was trained yet.
    """
    if not ((folder / METRICS_FILE).is_file() or has_checkpoint(folder)):
        return None
    if wanted is None:
        return f"with another budget than --minutes {minutes:g}"
    try:
        have = config_module.load(folder / CONFIG_FILE)
        images = len(read(folder / SPLIT_FILE, SplitFile).train)
    except SsaeError:
        return "by another version"
    # What `fit` takes from the images, which are the same: their hash is compared too.
    wanted = config_module.resolve_as(config_module.for_few(wanted, images), have.scoring)
    if have != wanted:
        return f"with other settings ({_changes(have, wanted)})"
    if _environment(folder).get("data_hash") != data_hash(category):
        return "from other images"
    return None


def _environment(folder: Path) -> dict[str, Any]:
    """What a run has recorded of its circumstances; nothing where that can't be read."""
    try:
        values = read_json(folder / ENVIRONMENT_FILE)
    except RunError:
        return {}
    return values if isinstance(values, dict) else {}


def _changes(have: RunConfig, wanted: RunConfig) -> str:
    """The settings that differ, the first ones in full: "training.seed 1, now 0"."""
    values = [config_module.to_dict(config) for config in (have, wanted)]
    texts = []
    for name in config_module.field_names():
        was, now = (functools.reduce(dict.__getitem__, name.split("."), one) for one in values)
        if was != now:
            texts.append(f"{name} {_shown(was)}, now {_shown(now)}")
    more = f" and {len(texts) - 2} more" if len(texts) > 2 else ""
    return "; ".join(texts[:2]) + more


def _shown(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return " + ".join(f"{s['steps']} steps of {s['batch_size']} at {s['size']}²" for s in value)
    return str(value)


def is_done(folder: Path) -> bool:
    """Whether a run is complete, its figures too."""
    return (folder / METRICS_FILE).is_file() and is_finished(folder)


def can_go_on(folder: Path, data: Path) -> bool:
    """Whether a run that was interrupted can be gone on with.

    Args:
        folder: of the run.
        data: the root of the categories: a run looks for its images where they were; when they
            have moved it begins anew.
    """
    return has_checkpoint(folder) and _environment(folder).get("data") == str(data.resolve())


def check_can_be_replaced(folder: Path) -> None:
    """Refuses a run that holds what is not of a run.

    Raises:
        RunError: it does.
    """
    others = contents(folder)[1]
    if others:
        raise RunError(
            f"{folder / others[0]}: is none of the files of a run, so {folder} is not replaced; "
            "move it away, or choose another --out."
        )
