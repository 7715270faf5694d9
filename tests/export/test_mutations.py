"""Files and answers, changed at random: an error of ours, or what is really in them; no hang.

`SSAE_TF_MUTATIONS=10000 pytest tests/export/test_mutations.py` tries more of them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mutations import (
    ARRAYS,
    JSON,
    Server,
    broken_frames,
    framed,
    mutate_folder,
    no_hang,
    replace_all,
    seal,
)
from ssae_tf import config as config_module
from ssae_tf.config import ModelConfig
from ssae_tf.detector import Calibration
from ssae_tf.errors import SsaeError
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import Exported
from ssae_tf.export.client import Client
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.weights import load_weights, named_variables, save_weights
from ssae_tf.schemas import EnvironmentFile, SplitFile, read
from ssae_tf.training.state import Progress, load_state, save_state

ALL = int(os.environ.get("SSAE_TF_MUTATIONS", "600"))
# How many of them go where.
SHARES = {"json": 0.4, "arrays": 0.2, "artefacts": 0.15, "answers": 0.25}


def count(kind: str, of: int = 1) -> int:
    return max(1, round(ALL * SHARES[kind] / of))


def is_number(value: Any, low: float = 0.0) -> bool:
    """Said independently of the code: what JSON holds for a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and value >= low


def mutations(kinds: tuple[Any, ...], seed: int, number: int) -> Iterator[Any]:
    """A kind and a generator for each, so that a failure can be had again."""
    for index in range(number):
        rng = np.random.default_rng((seed, index))
        yield kinds[int(rng.integers(len(kinds)))], rng


def refused(call: Callable[[], Any], what: Counter[str]) -> Any:
    """What a call gives, or None after an error of ours of one sentence."""
    try:
        with no_hang():
            found = call()
    except SsaeError as error:
        what["refused"] += 1
        what["lines"] = max(what["lines"], len(str(error).splitlines()))
        return None
    what["read"] += 1
    return found


# JSON.


def _calibration(path: Path) -> None:
    found, values = Calibration.read(path), json.loads(path.read_text())
    needed = {"schema_version", "min_area", "threshold", "n_calibration", "scores"}
    others = {"false_alarms", "review_false_alarms", "review_threshold", "names", "seen"}
    assert needed <= set(values) <= needed | others | {"left_out", "data"}
    assert is_number(values["threshold"])
    assert type(values["min_area"]) is int
    assert values["min_area"] >= 1
    assert all(is_number(score, -math.inf) for score in values["scores"])
    assert (found.threshold, found.min_area) == (float(values["threshold"]), values["min_area"])
    assert list(found.scores) == [float(score) for score in values["scores"]]
    review = values.get("review_threshold")
    assert review is None or (is_number(review) and review <= values["threshold"])
    for name in ("names", "seen", "left_out"):
        assert list(getattr(found, name)) == values.get(name, [])
    assert len(found.names) in (0, len(found.scores))
    promised = values.get("false_alarms")
    assert (found.false_alarms is None) == (promised is None)
    if found.false_alarms is not None:
        assert (found.false_alarms.images, found.false_alarms.rank) == (
            promised["images"],
            promised["rank"],
        )


def _split(path: Path) -> None:
    found = read(path, SplitFile).model_dump()
    assert found == json.loads(path.read_text())
    for names in found.values():
        assert all(isinstance(name, str) and name for name in names)
        assert not any(".." in Path(name).parts or Path(name).is_absolute() for name in names)


def _environment(path: Path) -> None:
    found, values = read(path, EnvironmentFile), json.loads(path.read_text())
    assert (found.data, found.data_hash) == (values["data"], values["data_hash"])
    assert isinstance(found.data, str)
    assert len(found.data_hash) == 64


def _config(path: Path) -> None:
    found = config_module.to_dict(config_module.load(path))
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("name", "check", "kinds"),
    [
        ("calibration.json", _calibration, JSON),
        ("split.json", _split, JSON),
        ("environment.json", _environment, JSON),
        ("config.json", _config, tuple(kind for kind in JSON if kind is not replace_all)),
    ],
)
def test_json_of_runs(
    name: str,
    check: Callable[[Path], None],
    kinds: tuple[Any, ...],
    run_folder: Path,
    tmp_path: Path,
) -> None:
    original = (run_folder / name).read_bytes()
    check(run_folder / name)
    path, what = tmp_path / name, Counter[str]()
    for mutate, rng in mutations(kinds, 1, count("json", of=4)):
        path.write_bytes(mutate(original, rng))
        refused(lambda: check(path), what)
    assert what["lines"] == 1


# Arrays.


@pytest.fixture(scope="module")
def network() -> tf.keras.Model:
    return autoencoder(ModelConfig(width=0.0625), training_size=64)


def _values(model: tf.keras.Model) -> dict[str, np.ndarray]:
    return {name: np.array(tf.convert_to_tensor(v)) for name, v in named_variables(model).items()}


@pytest.mark.parametrize("name", ["weights.npz", "state.npz"])
def test_arrays_of_runs(name: str, network: tf.keras.Model, tmp_path: Path) -> None:
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build(network.trainable_variables)
    path, what, progress = tmp_path / name, Counter[str](), Progress(7, 0.25, 1.5)
    if name == "weights.npz":
        save_weights(network, path)
    else:
        save_state(path, network, optimizer, progress)
    original, before = path.read_bytes(), _values(network)

    def load() -> bool:
        if name == "weights.npz":
            load_weights(network, path)
        else:
            assert load_state(path, network, optimizer) == progress
        return True

    assert load()
    for mutate, rng in mutations(ARRAYS, 2, count("arrays", of=2)):
        path.write_bytes(mutate(original, rng))
        refused(load, what)
    # Neither what was refused nor what was read, such as a flipped date, has changed anything.
    for name, value in _values(network).items():
        np.testing.assert_array_equal(value, before[name])
    assert what["refused"] > what["read"]
    assert what["lines"] == 1


# Artefacts.


@pytest.fixture
def exported(make: Callable[..., Exported], tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Gives a fresh copy of an artefact in the same place."""

    def copy() -> Path:
        shutil.rmtree(tmp_path / "artefact", ignore_errors=True)
        shutil.rmtree(tmp_path / "outside", ignore_errors=True)
        (tmp_path / "outside").mkdir()
        return shutil.copytree(make("tflite").folder, tmp_path / "artefact")

    return copy


def test_folders_of_artefacts(exported: Callable[[], Path]) -> None:
    what = Counter[str]()
    for _, rng in mutations((None,), 3, count("artefacts", of=2)):
        folder = exported()
        mutate_folder(folder, folder.parent / "outside", rng)
        refused(lambda folder=folder: Artefact.load(folder), what)
    assert (what["read"], what["lines"]) == (0, 1)


def test_metadata_by_somebody_who_may_write(exported: Callable[[], Path]) -> None:
    """With the hashes made anew: what is accepted are numbers that a verdict can come from."""
    what, folder = Counter[str](), exported()
    path = folder / "metadata.json"
    original = path.read_bytes()
    for mutate, rng in mutations(JSON, 4, count("artefacts", of=2)):
        path.write_bytes(mutate(original, rng))
        seal(folder)
        artefact = refused(lambda: Artefact.load(folder, even_failed=True), what)
        if artefact is not None:
            values = json.loads(path.read_text())
            assert is_number(values["threshold"])
            assert artefact.threshold == float(values["threshold"])
            assert values["outline"] is None or is_number(values["outline"])
            assert is_number(values["min_area"], 1)
            review = values.get("review_threshold")
            assert review is None or (is_number(review) and review <= values["threshold"])
            assert all(is_number(one, -math.inf) for one in values.get("good_scores", []))
    assert what["refused"] > 0


# Servers.

PICTURE = np.zeros((12, 16, 3), np.uint8)


def _expected(body: bytes) -> np.ndarray:
    """The map of an answer that holds all that it must; anything else fails."""
    outputs = json.loads(body)["outputs"]
    assert len(outputs["threshold"]) == len(outputs["min_area"]) == len(outputs["anomaly_map"]) == 1
    assert is_number(outputs["threshold"][0])
    assert type(outputs["min_area"][0]) is int
    assert 1 <= outputs["min_area"][0] <= 12 * 16
    assert all(is_number(v, -0.001) for row in outputs["anomaly_map"][0] for v in row)
    return np.array(outputs["anomaly_map"][0], np.float32)


def test_answers_of_servers(server: Server) -> None:
    rng = np.random.default_rng(0)
    outputs = {
        "anomaly_map": rng.random((1, 12, 16)).tolist(),
        "threshold": [0.5],
        "min_area": [4],
        "outline": [0.25],
        "review_threshold": [0.3],
        "good_scores": [[0.1, 0.2]],
        "reconstruction": rng.random((1, 12, 16, 3)).tolist(),
    }
    original, what = json.dumps({"outputs": outputs}).encode(), Counter[str]()
    client = Client(server.address, "tile", timeout=20)
    for mutate, rng in mutations((*JSON, broken_frames, broken_frames), 5, count("answers")):
        body = mutate(original, rng)
        content = body if mutate is broken_frames else framed(body)
        server.answer = lambda connection, content=content: connection.sendall(content)
        result = refused(lambda: client.predict(PICTURE), what)
        if result is not None:
            body = original if mutate is broken_frames else body
            np.testing.assert_array_equal(result.anomaly_map, _expected(body))
            assert result.is_anomalous == (result.score > result.threshold)
            assert result.p_value is None or 0.0 < result.p_value <= 1.0
            assert all(math.isfinite(value) for value in dataclasses.astuple(result)[1:3])
    assert what["refused"] > what["read"]
    assert what["lines"] == 1
