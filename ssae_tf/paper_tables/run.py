"""Fits and measures every method on every category, and writes the tables after each.

A run that is finished is not trained again, one that was interrupted is gone on with, and one that
fails costs no other. All runs of a category take the same number of steps: where minutes are asked
for, the first method's pace decides, so that a machine that gets busy later favours no method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssae_tf.data.mvtec import Category, load_category
from ssae_tf.errors import DataError, RunError, SsaeError, WriteError
from ssae_tf.files import check_can_be_made, read_json, write_json
from ssae_tf.paper_tables import folder as folder_module
from ssae_tf.paper_tables.folder import RECORD_FILE, run_folder
from ssae_tf.paper_tables.job import Job, UnforeseenError, do, do_apart
from ssae_tf.paper_tables.methods import Method
from ssae_tf.paper_tables.page import write_page
from ssae_tf.paper_tables.plan import Plan
from ssae_tf.paper_tables.results import Budget, Outcome, Results
from ssae_tf.paper_tables.writing import write_tables
from ssae_tf.progress import Reporter
from ssae_tf.run_folder import METRICS_FILE, SHEETS_FOLDER, beside
from ssae_tf.runtime.lock import locked
from ssae_tf.training.loop import TrainingInterrupted


def run(
    plan: Plan,
    out: Path,
    *,
    overwrite: bool = False,
    isolated: bool = True,
    reporter: Reporter | None = None,
) -> Results:
    """Runs a benchmark, or goes on with it.

    Args:
        plan: what is to be done.
        out: the benchmark's folder.
        overwrite: train runs anew that were made with other settings, and replace each when the new
            one is complete.
        isolated: give each run a process of its own: without, each leaves some of its memory
            behind.
        reporter: where progress goes; None for stderr. Of isolated runs, it goes to stderr.

    Returns:
        What was found; `failed` tells what is missing and why.

    Raises:
        RunError: `out` holds something else, or runs with other settings; nothing was changed.
        ConfigError: a method does not fit the settings; nothing was changed.
        TrainingInterrupted, KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; the same call goes on.
    """
    return _Benchmark(plan, out, do_apart if isolated else do, reporter or Reporter()).run(
        overwrite
    )


class _Benchmark:
    def __init__(
        self, plan: Plan, out: Path, do: Callable[[Job, Reporter], Any], reporter: Reporter
    ) -> None:
        self.plan = plan
        self.out = out
        self.do = do
        self.reporter = reporter
        self.results = Results(plan, budgets=folder_module.recorded_budgets(out, plan.study))
        self.categories: dict[str, Category] = {}
        self.differing: dict[Path, str] = {}
        for category in plan.categories:
            self._look_at(category)

    def _look_at(self, category: str) -> None:
        """Finds the images of a category and the steps it was given before."""
        budget = self.results.budgets.get(category)
        if budget is not None and budget.minutes != self.plan.minutes:
            budget = None
        if budget is not None and budget.stages is None:
            # The timed run was broken off before its steps were recorded.
            folder = self.out / budget.method / category
            budget = dataclasses.replace(budget, stages=folder_module.timed_stages(folder))
        budget = budget or self._timed_aside(category)
        if budget is None:
            self.results.budgets.pop(category, None)
        else:
            self.results.budgets[category] = budget
        try:
            loaded = load_category(self.plan.data, category)
            if not loaded.test:
                raise DataError(f"{loaded.root}: has no test images (test/<kind>/*).")
        except DataError as error:
            for method in self.plan.methods:
                self.results.outcomes[method.name, category] = Outcome(error=str(error))
            return
        self.categories[category] = loaded
        good = sum(not sample.is_anomalous for sample in loaded.test)
        train = len(loaded.train) + len(loaded.validation)
        self.results.images[category] = (train, good, len(loaded.test) - good)

    def _timed_aside(self, category: str) -> Budget | None:
        """The steps of a run that was to replace another, and was broken off."""
        minutes = self.plan.minutes
        if minutes is None:
            return None
        for method in self.plan.methods:
            folder = run_folder(self.out, method, category)
            config = dataclasses.replace(self.plan.config(method, category), category=category)
            stages = folder_module.timed_aside(folder, config, minutes)
            if stages is not None:
                return Budget(minutes, method.name, stages)
        return None

    def run(self, overwrite: bool) -> Results:
        self.differing = self._differing()
        if self.differing and not overwrite:
            folder, text = next(iter(self.differing.items()))
            count = len(self.differing) - 1
            more = f" (and {count} more runs)" if count else ""
            raise RunError(
                f"{folder}: was made {text}{more}; --overwrite trains it again, --out chooses "
                "another folder."
            )
        for folder in self.differing:
            folder_module.check_can_be_replaced(folder)
        check_can_be_made(self.out)
        self.out.mkdir(parents=True, exist_ok=True)
        with locked(self.out, "ssae-tf benchmark"):
            try:
                self._do_all()
            except WriteError as error:
                text = str(error).rstrip(".")
                raise WriteError(f"{text}; the runs in {self.out} are kept.") from None
        return self.results

    def _do_all(self) -> None:
        for category in self.plan.categories:
            if category not in self.categories:
                reason = self.results.outcomes[self.plan.methods[0].name, category].error
                self.reporter.warn(f"{category} is left out: {reason}")
        self._write()
        total = len(self.plan.runs)
        for number, (method, category) in enumerate(self.plan.runs, 1):
            if (method.name, category) in self.results.outcomes:
                continue
            self.reporter.say(f"Run {number} of {total}: {method.name} on {category}.")
            folder = run_folder(self.out, method, category)
            outcome = self._outcome(method, category, folder)
            self.results.outcomes[method.name, category] = outcome
            if outcome.error is not None:
                self.reporter.warn(f"{method.name} on {category} failed: {outcome.error}")
            self._write()

    def _differing(self) -> dict[Path, str]:
        """Folders with runs that are not of this benchmark -> what is different."""
        differing = {}
        for method, category in self.plan.runs:
            # Also where the images are missing: settings that don't fit show before training.
            self.plan.config(method, category, self.results.stages(category))
            if category in self.categories:
                folder = run_folder(self.out, method, category)
                text = self._difference(method, category, folder)
                if text is not None:
                    differing[folder] = text
        return differing

    def _difference(self, method: Method, category: str, folder: Path) -> str | None:
        """Why a run is none of this benchmark; None for one that is."""
        stages = self.results.stages(category)
        wanted = None if stages is None else self.plan.config(method, category, stages)
        return folder_module.difference(
            folder, wanted, self.plan.minutes, self.categories[category]
        )

    def _outcome(self, method: Method, category: str, folder: Path) -> Outcome:
        """Does one run, or says why that can't be done."""
        try:
            metrics = self._metrics(method, category, folder)
        except TrainingInterrupted:
            raise
        except SsaeError as error:
            return Outcome(error=str(error))
        except UnforeseenError as error:
            return Outcome(error=str(error), traceback=error.details)
        sheets = sorted((folder / SHEETS_FOLDER).glob("*.png"))
        return Outcome(metrics, sheets=tuple(s.relative_to(self.out).as_posix() for s in sheets))

    def _metrics(self, method: Method, category: str, folder: Path) -> dict[str, Any]:
        """The figures of a run, which is trained if it has none yet.

        Raises:
            SsaeError, UnforeseenError: it can't be trained or measured.
        """
        if folder not in self.differing and folder_module.is_done(folder):
            self.reporter.say(f"{folder}: is there already, not trained again.")
            metrics = read_json(folder / METRICS_FILE)
            if not isinstance(metrics, dict) or "n_test" not in metrics:
                raise RunError(f"{folder / METRICS_FILE}: holds no metrics.")
            return metrics
        if self._can_go_on(method, category, folder):
            self.reporter.say(f"{folder}: was interrupted, training goes on.")
            return self.do(Job(folder, self.plan.data, category, None), self.reporter)
        return self._fit(method, category, folder)

    def _can_go_on(self, method: Method, category: str, folder: Path) -> bool:
        """Whether there is a training of these settings that was interrupted."""
        newer = folder_module.newer(folder)
        if newer is None:
            fits = folder not in self.differing
        else:
            fits = self._difference(method, category, newer) is None
        return fits and folder_module.can_go_on(newer or folder, self.plan.data)

    def _fit(self, method: Method, category: str, folder: Path) -> dict[str, Any]:
        stages = self.results.stages(category)
        minutes = self.plan.minutes if stages is None else None
        # Where a run is to be replaced, its own steps must not be taken for those of the new one.
        place = beside(folder)[0] if folder in self.differing else folder
        if minutes is not None and place == folder:
            self._set_budget(category, Budget(minutes, method.name))
        try:
            config = self.plan.config(method, category, stages)
            job = Job(folder, self.plan.data, category, config, minutes)
            metrics = self.do(job, self.reporter)
            place = folder
            return metrics
        finally:
            # Also of a training that failed or was interrupted: the steps are those that it had.
            stages = folder_module.timed_stages(place)
            if minutes is not None and stages is not None:
                self._set_budget(category, Budget(minutes, method.name, stages))

    def _set_budget(self, category: str, budget: Budget) -> None:
        self.results.budgets[category] = budget
        write_json(self.out / RECORD_FILE, self.results.to_dict())

    def _write(self) -> None:
        """Writes everything, each file whole or not at all."""
        write_json(self.out / RECORD_FILE, self.results.to_dict())
        write_tables(self.results, self.out)
        write_page(self.results, self.out)
