"""Kills processes at random moments, and looks whether anything is lost or needs a hand.

    python tests/crash/kills.py --kills 100

Each kill ends `fit --overwrite` or `calibrate` by SIGKILL, SIGTERM, SIGHUP or SIGINT at a moment
drawn from the time that it takes. Then the run must judge as the old or the new one, `--resume` or
the same command must end well, and nothing may be left over.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from crash.quick import put, seed_of
from ssae_tf import workflow
from ssae_tf.cli import options
from ssae_tf.cli.main import run
from ssae_tf.sample_data.sample import write_sample_data

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
OLD, NEW = 1, 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="ssae_kills_"))
    try:
        return _kill(root, arguments.kills, random.Random(arguments.seed))
    finally:
        shutil.rmtree(root)


def _kill(root: Path, kills: int, draw: random.Random) -> int:
    data = write_sample_data(root / "data", categories=("tile",), train=12, test_good=1, size=32)
    begin = time.monotonic()
    if _wait(_start(lambda: _fit(data, root / "old", OLD))) != 0:
        raise RuntimeError("The first fit failed.")
    seconds = time.monotonic() - begin
    found: collections.Counter[str] = collections.Counter()
    for _ in range(kills):
        shutil.rmtree(root / "runs", ignore_errors=True)
        folder = root / "runs" / "tile"
        shutil.copytree(root / "old", folder)
        is_fit = draw.random() < 0.7
        again = ["fit --overwrite", "fit --resume"] if is_fit else ["calibrate"]
        works = {
            "fit --overwrite": lambda folder=folder: _fit(data, folder, NEW),
            "fit --resume": lambda folder=folder: run(["fit", "--resume", str(folder), "--quiet"]),
            "calibrate": lambda folder=folder: run(
                ["calibrate", str(folder), "--min-area", "9", "--quiet"]
            ),
        }
        process = _start(works[again[0]])
        time.sleep(draw.uniform(0.0, seconds))
        number = draw.choice(SIGNALS)
        os.kill(process, number)
        code = _wait(process)
        found[f"exit code {code}"] += 1
        if _wait(_start(lambda folder=folder: _judges(folder))) != 0:
            found["FAULT: neither old nor new"] += 1
        name = draw.choice(again)
        if _wait(_start(works[name])) != 0 or _left(root / "runs"):
            found[f"FAULT: {name} after {number.name}, {_left(root / 'runs')}"] += 1
    faults = sum(count for name, count in found.items() if name.startswith("FAULT"))
    sys.stdout.write(f"{kills} kills within {seconds:.1f} s each: {faults} faults\n")
    for name, count in sorted(found.items()):
        sys.stdout.write(f"  {count:4d} {name}\n")
    return int(faults > 0)


def _fit(data: Path, out: Path, seed: int) -> int:
    given = ["--data", str(data), "--out", str(out), "--seed", str(seed), "--overwrite"]
    return run(["fit", *given, "--preset", "paper", "--quiet"])


def _judges(folder: Path) -> int:
    return 0 if seed_of(folder) in (OLD, NEW) else 1


def _left(runs: Path) -> list[str]:
    return [str(path.relative_to(runs)) for path in runs.rglob(".*")] + [
        path.name for path in runs.iterdir() if path.name != "tile"
    ]


def _start(work: Callable[[], int]) -> int:
    """Does something in another process."""
    process = os.fork()
    if process:
        return process
    code = 99
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        put(setattr)
        # There are no figures.
        options.print_metrics = lambda _: None
        slow = workflow.evaluate_detector

        def evaluate(*arguments: object) -> object:
            time.sleep(0.1)
            return slow(*arguments)

        workflow.evaluate_detector = evaluate
        code = int(work())
    finally:
        os._exit(code)


def _wait(process: int) -> int:
    """128 + the number of a signal, as a shell has it."""
    status = os.waitpid(process, 0)[1]
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main())
