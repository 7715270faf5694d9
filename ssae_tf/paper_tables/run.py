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
from ssae_tf.errors import DataError, RunError, SsaeError
from ssae_tf.files import read_json, write_json
from ssae_tf.paper_tables import folder as folder_module
from ssae_tf.paper_tables.folder import RECORD_FILE, State, run_folder
from ssae_tf.paper_tables.job import Job, UnforeseenError, do, do_apart
from ssae_tf.paper_tables.methods import Method
from ssae_tf.paper_tables.page import write_page
from ssae_tf.paper_tables.plan import Plan
from ssae_tf.paper_tables.results import Budget, Outcome, Results
from ssae_tf.paper_tables.writing import write_tables
from ssae_tf.progress import Reporter
from ssae_tf.run_folder import CONFIG_FILE, METRICS_FILE, SHEETS_FOLDER
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
        overwrite: delete runs that were made with other settings, and train them again.
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
        self.found: dict[str, Category] = {}
        for category in plan.categories:
            self._look_at(category)

    def _look_at(self, category: str) -> None:
        """Finds the images of a category and the steps it was given before."""
        budget = self.results.budgets.get(category)
        if budget is not None and budget.minutes != self.plan.minutes:
            budget = None
        if budget is not None and budget.stages is None:
            # The timed run was broken off before its steps were recorded.
            stages = folder_module.timed_stages(self.out, budget.method, category)
            budget = dataclasses.replace(budget, stages=stages)
        if budget is None:
            self.results.budgets.pop(category, None)
        else:
            self.results.budgets[category] = budget
        try:
            found = load_category(self.plan.data, category)
            if not found.test:
                raise DataError(f"{found.root}: has no test images (test/<kind>/*).")
        except DataError as error:
            for method in self.plan.methods:
                self.results.outcomes[method.name, category] = Outcome(error=str(error))
            return
        self.found[category] = found
        good = sum(not sample.is_anomalous for sample in found.test)
        train = len(found.train) + len(found.validation)
        self.results.images[category] = (train, good, len(found.test) - good)

    def run(self, overwrite: bool) -> Results:
        differing = self._differing()
        if differing and not overwrite:
            folder, text = next(iter(differing.items()))
            more = f" (and {len(differing) - 1} more runs)" if len(differing) > 1 else ""
            raise RunError(
                f"{folder}: was made {text}{more}; --overwrite trains it again, --out chooses "
                "another folder."
            )
        for category in self.plan.categories:
            if category not in self.found:
                reason = self.results.outcomes[self.plan.methods[0].name, category].error
                self.reporter.warn(f"{category} is left out: {reason}")
        self._write()
        total = len(self.plan.runs)
        for number, (method, category) in enumerate(self.plan.runs, 1):
            if (method.name, category) in self.results.outcomes:
                continue
            self.reporter.say(f"Run {number} of {total}: {method.name} on {category}.")
            folder = run_folder(self.out, method, category)
            if folder in differing:
                folder_module.remove(folder)
            outcome = self._outcome(method, category, folder)
            self.results.outcomes[method.name, category] = outcome
            if outcome.error is not None:
                self.reporter.warn(f"{method.name} on {category} failed: {outcome.error}")
            self._write()
        return self.results

    def _differing(self) -> dict[Path, str]:
        """Folders with runs that are not of this benchmark -> what is different."""
        differing = {}
        for method, category in self.plan.runs:
            stages = self.results.stages(category)
            # Also where the steps are not known yet: settings that don't fit show before training.
            config = self.plan.config(method, category, stages)
            if category in self.found:
                folder = run_folder(self.out, method, category)
                wanted = None if stages is None else config
                text = folder_module.difference(
                    folder, wanted, self.plan.minutes, self.found[category]
                )
                if text is not None:
                    differing[folder] = text
        return differing

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
        state = folder_module.state(folder, self.plan.data)
        if state is State.DONE:
            self.reporter.say(f"{folder}: is there already, not trained again.")
            metrics = read_json(folder / METRICS_FILE)
            if not isinstance(metrics, dict) or "n_test" not in metrics:
                raise RunError(f"{folder / METRICS_FILE}: holds no metrics.")
            return metrics
        if state is State.UNFINISHED:
            self.reporter.say(f"{folder}: was interrupted, training goes on.")
            job = Job(folder, self.plan.data, category, None, command=self.plan.command)
            return self.do(job, self.reporter)
        return self._fit(method, category, folder)

    def _fit(self, method: Method, category: str, folder: Path) -> dict[str, Any]:
        if (folder / CONFIG_FILE).is_file():
            # Nothing was trained there, and its steps must not be taken for those of this run.
            folder_module.remove(folder)
        stages = self.results.stages(category)
        minutes = self.plan.minutes if stages is None else None
        if minutes is not None:
            self._set_budget(category, Budget(minutes, method.name))
        try:
            config = self.plan.config(method, category, stages)
            job = Job(folder, self.plan.data, category, config, minutes, self.plan.command)
            return self.do(job, self.reporter)
        finally:
            # Also of a training that failed or was interrupted: the steps are those that it had.
            if minutes is not None:
                stages = folder_module.timed_stages(self.out, method.name, category)
                self._set_budget(category, Budget(minutes, method.name, stages))

    def _set_budget(self, category: str, budget: Budget) -> None:
        self.results.budgets[category] = budget
        write_json(self.out / RECORD_FILE, self.results.to_dict())

    def _write(self) -> None:
        """Writes everything, each file whole or not at all."""
        write_json(self.out / RECORD_FILE, self.results.to_dict())
        write_tables(self.results, self.out)
        write_page(self.results, self.out)
