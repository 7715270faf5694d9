"""A driver of a fleet on two cores, in which something dies; run by test_engine.py.

    python cluster.py worker|image|driver RUN SOURCE TABLE MARK

`worker`: the first worker that has inspected a batch is killed, before the driver has it. `image`:
so is every worker that gets an image named poison. `driver`: this process is, after a part.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import ray

from ssae_tf.data.images import MAX_PIXELS
from ssae_tf.fleet import engine, inspector, sources, table
from ssae_tf.progress import Reporter

MODE, RUN, SOURCE, TABLE, MARK = sys.argv[1:]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# Of the module __main__, so that Ray carries it to the workers with the values above.
class Dying(inspector.Inspector):
    def __call__(self, batch: Any) -> Any:
        if MODE == "image" and any("poison" in path for path in batch.column("path").to_pylist()):
            die()
        rows = super().__call__(batch)
        if MODE == "worker" and not Path(MARK).exists():
            Path(MARK).write_text(str(os.getpid()))
            die()
        return rows


def write_and_die(self: table.Table, *, write: Any = table.Table.flush) -> None:
    has_rows = bool(self._waiting)
    write(self)
    if has_rows:
        die()


if __name__ == "__main__":
    ray.init = functools.partial(ray.init, num_cpus=2)
    inspector.Inspector = Dying  # type: ignore[misc]
    if MODE == "driver":
        table._SECONDS = 0.0
        table.Table.flush = write_and_die  # type: ignore[method-assign]
    paths = sources.find([SOURCE])
    counts = engine.score(Path(RUN), paths, TABLE, Reporter(quiet=True), max_pixels=MAX_PIXELS)
    sys.stdout.write(json.dumps(dataclasses.asdict(counts)))
