"""Several devices and several workers: what one device comes to, and a worker that dies."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.errors import InputError
from ssae_tf.models.weights import load_arrays
from ssae_tf.training import replicas

COMMAND = [sys.executable, str(Path(__file__).with_name("on_several_devices.py"))]
STEPS = 40


def ends(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def start(command: list[str], **environment: str) -> subprocess.Popen[str]:
    # One core for each operation, or sums would depend on who had time.
    environment["TF_NUM_INTRAOP_THREADS"] = "1"
    # For stand_ins.py.
    path = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **environment}, **pipes)


def state(folder: Path) -> dict[str, np.ndarray]:
    arrays = load_arrays(folder / "checkpoints" / "state.npz")
    # Moving averages are those of the chief's images; they are estimated anew before they count.
    return {name: a for name, a in arrays.items() if name != "seconds" and "moving" not in name}


@pytest.fixture(scope="module")
def arguments(fit_arguments, sample_root):
    """Of a fit whose steps have parts of two images each, on good images alone."""
    stages = json.dumps([{"size": 16, "batch_size": 4, "steps": STEPS}])
    return [
        *fit_arguments,
        *("--data", str(sample_root / "tile" / "train" / "good")),
        *("--set", f"training.stages={stages}"),
        *("--set", "training.evaluations=20"),
    ]


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    """A run on two devices that nothing has interrupted, and these beside parts by hand."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    more = ["--devices", "2", "--out", str(folder)]
    code, out, err = ends(start([*COMMAND, "compare", *arguments, *more]))
    assert code == 0, err
    compared, *printed = out.splitlines()
    assert printed[-1] == str(folder)
    return folder, json.loads(compared)


@pytest.fixture(scope="module")
def compared(whole):
    return whole[1]


@pytest.fixture(scope="module")
def killed(arguments, tmp_path_factory):
    """A run whose second worker was killed: folder, the worker's, and how the chief ended."""
    place = tmp_path_factory.mktemp("workers")
    sockets = [socket.socket() for _ in "12"]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    hosts = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    workers = []
    for index in (0, 1):
        task = {"type": "worker", "index": index}
        cluster = json.dumps({"cluster": {"worker": hosts}, "task": task})
        command = [*COMMAND, *arguments, "--out", str(place / "run")]
        workers.append(start(command, TF_CONFIG=cluster))
    chief, other = workers
    while not (place / "run" / "checkpoints" / "state.npz").exists() and chief.poll() is None:
        time.sleep(0.01)
    other.kill()
    other.communicate()
    return place / "run", ends(chief)


class TestTwoDevices:
    @pytest.mark.parametrize("answer", ["plain", "gated"])
    def test_gradients_are_the_sum_over_parts_with_statistics_of_their_own(self, compared, answer):
        found = compared[answer]
        np.testing.assert_allclose(*found["figures"], rtol=1e-5)
        assert found["largest_gradient"] > 1e-3
        # Gradients, and the statistics that follow both parts.
        assert max(found["differences"]) <= 1e-5

    def test_each_has_its_part(self, compared):
        first, second = compared["plain"]["convolutions"]
        assert first == second > 0


class TestWorkers:
    def test_one_killed_the_others_end_with_a_sentence(self, killed):
        folder, (code, out, err) = killed
        assert code == 1, err
        assert out == ""
        steps = int(state(folder)["step"])
        assert 0 < steps < STEPS
        assert err.splitlines()[-1] == (
            f"Error: Training stopped after step {steps} of {STEPS}: another worker of TF_CONFIG "
            f"has ended, or can't be reached. {folder} is kept. Go on with: ssae-tf fit --resume "
            f"{folder}"
        )

    def test_goes_on_with_another_number_of_workers(self, killed, whole):
        folder, _ = killed
        # Two devices of one process.
        command = [*COMMAND, "fit", "--resume", str(folder), "--devices", "all", "--quiet"]
        code, out, err = ends(start(command))
        assert code == 0, err
        assert out.splitlines()[-1] == str(folder)
        found, expected = state(folder), state(whole[0])
        assert found.keys() == expected.keys()
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


class TestRefusals:
    def test_more_devices_than_there_are(self):
        with pytest.raises(InputError, match="from 1 to 1: TensorFlow sees 1 CPU device, and no"):
            replicas.strategy_for(2)

    @pytest.mark.parametrize(
        "text",
        [
            "workers",
            "[]",
            '{"cluster": {"worker": ["a:1", "b:1"]}}',
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        ],
    )
    def test_a_cluster_that_makes_no_sense(self, monkeypatch, text):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(InputError, match=r"^TF_CONFIG: expected .* Received: "):
            replicas.strategy_for()

    def test_a_cluster_of_one_is_none(self, monkeypatch):
        one = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(one))
        assert replicas.strategy_for().num_replicas_in_sync == 1

    def test_a_cluster_after_tensorflow_has_run(self, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as other:
            with socket.create_server(("127.0.0.1", 0)) as own:
                hosts = [f"127.0.0.1:{one.getsockname()[1]}" for one in (own, other)]
            two = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": 0}}
            monkeypatch.setenv("TF_CONFIG", json.dumps(two))
            tf.zeros(1)
            with pytest.raises(InputError, match="a process in which TensorFlow has not run yet"):
                replicas.strategy_for()

    @pytest.mark.parametrize(
        ("training", "sentence"),
        [
            ({"stages": [{"size": 16, "batch_size": 1, "steps": 1}]}, "as a step has images, 1"),
            ({"jit": True}, "one device with training.jit"),
        ],
    )
    def test_steps_that_devices_cannot_share(self, configure, training, sentence):
        config = configure({f"training.{name}": value for name, value in training.items()})
        strategy = tf.distribute.MirroredStrategy(["CPU:0"])
        replicas.check_parts(config.training, strategy)
        strategy.__class__ = type("Two", (type(strategy),), {"num_replicas_in_sync": 2})
        with pytest.raises(InputError, match=sentence):
            replicas.check_parts(config.training, strategy)
