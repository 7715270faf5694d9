"""How inspection uses cores; TensorFlow's threads are set once, so in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, sys
import tensorflow as tf
from ssae_tf.runtime import threads

def look(case):
    if case == "environment":
        os.environ["TF_NUM_INTRAOP_THREADS"] = "3"
    if case == "alone":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = {"before": threads.side_by_side()}
    if case == "late":
        float(tf.constant(1.0) + 1.0)
    threads.use_cores()
    found["threads"] = tf.config.threading.get_intra_op_parallelism_threads()
    float(tf.reduce_sum(tf.ones((3, 3))))
    threads.use_cores()
    found["again"] = tf.config.threading.get_intra_op_parallelism_threads()
    found["cores"] = threads.usable_cpus()
    found["side_by_side"] = threads.side_by_side()
    found["at_once"] = [threads.batches_at_once(size) for size in (1, 4)]
    return found

# TensorFlow is imported once, and starts its threads in each child by itself.
for case in sys.argv[1:]:
    if os.fork() == 0:
        print(json.dumps([case, look(case)]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, case
"""
CASES = ("usual", "alone", "late", "environment")


@pytest.fixture(scope="module")
def seen():
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_NUM_")}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, *CASES],
        env={**clean, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(line) for line in process.stdout.splitlines())


@pytest.fixture(scope="module")
def used(seen):
    return seen["usual"]


def test_one_core_for_each_operation(used):
    assert used["before"] == 1
    assert used["threads"] == used["again"] == 1


def test_single_images_go_side_by_side_as_batches_do(used):
    assert used["side_by_side"] == used["cores"]
    assert used["at_once"] == [used["cores"], used["cores"]]


def test_only_the_cores_of_this_process_count(seen, used):
    alone = seen["alone"]
    assert used["cores"] == len(os.sched_getaffinity(0))
    assert alone["cores"] == alone["side_by_side"] == 1


def test_too_late_nothing_changes(seen):
    late = seen["late"]
    assert late["threads"] != 1
    assert late["side_by_side"] == 1
    assert late["at_once"] == [1, late["cores"]]


def test_the_environment_wins(seen):
    assert seen["environment"]["side_by_side"] == 1
