"""How trainings use cores; TensorFlow's threads are set once, so in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, dataclasses, sys
import tensorflow as tf
from ssae_tf.config import TrainingConfig
from ssae_tf.runtime import threads
apart = TrainingConfig()
found = {"before": [threads.side_by_side(), threads.shards(apart, 8)]}
if "late" in sys.argv:
    float(tf.constant(1.0) + 1.0)
threads.use_cores()
found["threads"] = tf.config.threading.get_intra_op_parallelism_threads()
float(tf.reduce_sum(tf.ones((3, 3))))
threads.use_cores()
found["again"] = tf.config.threading.get_intra_op_parallelism_threads()
found["cores"] = threads.usable_cpus()
found["side_by_side"] = threads.side_by_side()
found["shards"] = [threads.shards(apart, size) for size in (1, 2, 8, 1000)]
found["xla"] = threads.shards(dataclasses.replace(apart, jit=True), 8)
print(json.dumps(found))
"""


def run(*arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_NUM_")}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env={**clean, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def used():
    return run()


def test_one_core_for_each_operation(used):
    assert used["before"] == [1, 1]
    assert used["threads"] == used["again"] == 1


def test_parts_are_pairs_of_images_or_cores_whichever_are_fewer(used):
    cores = used["cores"]
    assert used["side_by_side"] == cores
    assert used["shards"] == [min(pairs, cores) for pairs in (1, 1, 4, 500)]


def test_xla_takes_the_batch_whole(used):
    assert used["xla"] == 1


def test_only_the_cores_of_this_process_count(used):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system can't bind a process to cores")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        alone = run()
    finally:
        os.sched_setaffinity(0, allowed)
    assert used["cores"] == len(allowed)
    assert alone["cores"] == alone["side_by_side"] == 1
    assert alone["shards"] == [1, 1, 1, 1]


def test_too_late_nothing_changes():
    late = run("late")
    assert late["threads"] != 1
    assert late["side_by_side"] == 1
    assert late["shards"] == [1, 1, 1, 1]


def test_the_environment_wins():
    assert run(TF_NUM_INTRAOP_THREADS="3")["shards"] == [1, 1, 1, 1]
