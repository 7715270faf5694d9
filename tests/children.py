"""What tests have a process of its own do in place of a run; it imports them from here."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from ssae_tf.errors import SsaeError
from ssae_tf.paper_tables.job import Job, UnforeseenError
from ssae_tf.progress import Reporter


def told(job: Job, reporter: Reporter) -> Any:
    sys.stdout.write("noise")
    return job, reporter.quiet, sys.argv, sys.path


def unforeseen(job: Job, reporter: Reporter) -> Any:
    raise UnforeseenError("It broke.", "Traceback")


def killed(job: Job, reporter: Reporter) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def ended(job: Job, reporter: Reporter) -> Any:
    os._exit(5)


def _until_ctrl_c() -> None:
    # The parent tells itself when this process is ready to be interrupted.
    try:
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)
    except KeyboardInterrupt:
        return


def saves(job: Job, reporter: Reporter) -> Any:
    _until_ctrl_c()
    raise SsaeError("All is saved.")


def stops(job: Job, reporter: Reporter) -> Any:
    _until_ctrl_c()
    raise KeyboardInterrupt


def dies_of_it(job: Job, reporter: Reporter) -> Any:
    _until_ctrl_c()
    os._exit(1)


def says_its_number(job: Job, reporter: Reporter) -> Any:
    os.write(1, b"%d\n" % os.getpid())
    time.sleep(60)
