"""`fit` in a cluster whose other workers never come: a bound, their names, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ssae_tf.errors import InputError
from ssae_tf.training import replicas

_SCRIPT = """
import sys
from ssae_tf.runtime import rendezvous
from ssae_tf.training import replicas
from ssae_tf.cli.main import main
rendezvous._PATIENCE, replicas._ARRIVAL = 0.0, float(sys.argv.pop(1))
main()
"""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _cluster(ports: list[int]) -> str:
    hosts = [f"localhost:{port}" for port in ports]
    return json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": 0}})


def _fit(seconds: str, ports: list[int], out: Path, arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, seconds, *arguments, "--out", str(out)],
        env={**os.environ, "TF_CONFIG": _cluster(ports)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_who_has_not_come_is_named_and_a_signal_ends_the_wait(
    fit_arguments: list[str], tmp_path: Path
) -> None:
    ports, out = _free_ports(4), tmp_path / "run"
    names = f"worker 1 (localhost:{ports[1]}) and worker 2 (localhost:{ports[2]})"
    bounded = _fit("1", ports[:3], out, fit_arguments)
    patient = _fit("100", [ports[3], *ports[1:3]], out, fit_arguments)
    with bounded, patient:
        assert patient.stderr is not None
        assert f"TF_CONFIG: waiting for {names}.\n" in patient.stderr
        patient.send_signal(signal.SIGTERM)
        printed, told = patient.communicate()
        assert (printed, told.strip()) == ("", "Interrupted.")
        assert patient.returncode == 128 + signal.SIGTERM
        printed, told = bounded.communicate()
    assert (bounded.returncode, printed) == (1, "")
    assert told.splitlines()[-1] == (
        f"Error: TF_CONFIG: {names} did not come within 1 s. Each worker takes the same command, "
        "with its own index, and must reach the others."
    )
    assert not out.exists()


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("TF_CONFIG", _cluster([port, *_free_ports(1)]))
        with pytest.raises(InputError) as caught:
            replicas.strategy_for()
    assert str(caught.value) == (
        f"TF_CONFIG: port {port} of worker 0 can't be used (Address already in use)."
    )
