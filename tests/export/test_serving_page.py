"""What docs/serving.md and the client's docstring show is run, as far as it runs without Docker.

Read but not run: the export in 8 bits at 512², which takes minutes, `docker run`, and the check for
GPU hosts.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from docstring_examples import run_examples
from ssae_tf.cli.main import cli, run
from ssae_tf.data.images import encode_png
from ssae_tf.detector import Detector
from ssae_tf.export.build import Exported
from ssae_tf.export.client import Client
from ssae_tf.export.tfserving import docker_command

serving_stand_in = pytest.importorskip("serving_stand_in")

GRPC, REST = "localhost:8500", "http://localhost:8501"


@pytest.fixture(scope="module")
def blocks(project_root: Path) -> dict[str, list[str]]:
    """The page's blocks of code by language; commands have none."""
    text = (project_root / "docs" / "serving.md").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        found.setdefault(language, []).append(block)
    assert set(found) == {"", "python"}
    return found


@pytest.fixture(scope="module")
def commands(blocks: dict[str, list[str]]) -> list[str]:
    return [line for block in blocks[""] for line in block.splitlines()]


@pytest.fixture(scope="module")
def addresses(make: Callable[..., Exported]) -> Iterator[dict[str, str]]:
    """Where the model of the page is served, by the address that the page has."""
    models = {"tile": serving_stand_in.Model(make("savedmodel").folder)}
    with serving_stand_in.grpc_server(models) as one, serving_stand_in.rest_server(models) as two:
        yield {GRPC: one, REST: two}


@pytest.fixture
def shop(
    make: Callable[..., Exported],
    sample_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A working folder with the images and artefacts of the page."""
    crack = sample_root / "tile" / "test" / "crack"
    shutil.copytree(make("savedmodel").folder, tmp_path / "serving" / "tile" / "1")
    shutil.copytree(make("tflite").folder, tmp_path / "runs" / "tile" / "export" / "tflite")
    shutil.copytree(crack, tmp_path / "images")
    shutil.copy(crack / "000.png", tmp_path / "part.png")
    shutil.copy(crack / "000.png", tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def starting(commands: list[str], start: str) -> list[str]:
    found = [line for line in commands if line.startswith(start)]
    assert found, f"no command of the page starts with {start}"
    return found


def test_every_command_is_looked_at_here(commands: list[str]) -> None:
    known = ("ssae-tf export ", "ssae-tf predict ", "docker ", "curl ", "python ")
    assert [line for line in commands if not line.startswith(known)] == []


def test_the_client(
    blocks: dict[str, list[str]],
    addresses: dict[str, str],
    shop: Path,
    trained: Detector,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = blocks["python"]
    assert GRPC in example
    exec(compile(example.replace(GRPC, addresses[GRPC]), "serving.md", "exec"), {})
    expected = trained.predict(shop / "part.png")
    assert capsys.readouterr().out.startswith(f"{expected.is_anomalous} ")


@pytest.mark.usefixtures("shop")
def test_the_clients_docstring(addresses: dict[str, str]) -> None:
    run_examples(Client, {GRPC: addresses[GRPC]})


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_curl(
    commands: list[str], addresses: dict[str, str], shop: Path, rng: np.random.Generator
) -> None:
    # Larger than an argument of a command may be: 128 KiB.
    noise = rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)
    (shop / "part.png").write_bytes(encode_png(noise))
    (line,) = starting(commands, "curl ")
    assert REST in line
    command = line.replace(REST, addresses[REST]).replace("curl ", "curl --silent --show-error ")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert {"anomaly_map", "threshold", "is_anomalous"} <= set(json.loads(done.stdout)["outputs"])


def test_predict_takes_the_served_folder(
    commands: list[str], shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = starting(commands, "ssae-tf predict ")
    assert run(shlex.split(line)[1:]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list((shop / "images").iterdir()))


def test_exports_are_spelt_right(commands: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    export = cli.get_command(None, "export")  # type: ignore[arg-type]
    assert export is not None
    for line in starting(commands, "ssae-tf export "):
        arguments = shlex.split(line)[2:]
        if arguments == ["--list"]:
            assert run(["export", *arguments]) == 0
        else:
            # Refuses unknown options and values.
            assert export.make_context("export", arguments).params["format_name"]


def test_docker_is_called_as_the_export_prints_it(commands: list[str], shop: Path) -> None:
    (line,) = starting(commands, "docker ")
    printed = docker_command(shop / "serving" / "tile", "tile")
    assert shlex.split(line.replace("$PWD", str(shop))) == shlex.split(printed)


def test_the_example_for_devices(
    commands: list[str], shop: Path, project_root: Path, trained: Detector
) -> None:
    (line,) = starting(commands, "python examples/edge_device.py")
    _, script, *arguments = shlex.split(line)
    command = [sys.executable, str(project_root / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = trained.predict(shop / "image.png")
    assert json.loads(done.stdout)["is_anomalous"] == expected.is_anomalous


def test_the_check_for_gpu_hosts_is_spelt_right(commands: list[str], project_root: Path) -> None:
    (line,) = starting(commands, "python examples/check_tensorrt.py")
    _, script, *arguments = shlex.split(line)
    source = (project_root / script).read_text(encoding="utf-8")
    for option in arguments:
        if option.startswith("--"):
            assert f'add_argument("{option}"' in source
