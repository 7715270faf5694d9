"""Weights on disk: round trips, files that do not fit, and the other Keras version."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.errors import RunError
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.weights import load_weights, named_variables, save_weights
from ssae_tf.training.state import Progress, load_state, save_state

NARROW = ModelConfig(width=0.0625)


def network(seed=0, config=NARROW):
    return autoencoder(config, training_size=64, seed=seed)


def values(model):
    return {name: np.array(tf.convert_to_tensor(v)) for name, v in named_variables(model).items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], name)


@pytest.fixture(scope="module")
def model():
    """A network none of whose weights has its initial value."""
    model, rng = network(), np.random.default_rng(0)
    for name, variable in named_variables(model).items():
        change = rng.normal(scale=0.1, size=tuple(variable.shape))
        variable.assign(np.asarray(variable) + (np.abs(change) if "var" in name else change))
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.npz"


class TestRoundTrip:
    def test_every_weight_by_name(self, model, path):
        save_weights(model, path)
        other = network(1)
        load_weights(other, path)
        assert_same(values(other), values(model))
        x = np.random.default_rng(0).random((1, 64, 64, 3), dtype=np.float32)
        np.testing.assert_array_equal(other(x, training=False), model(x, training=False))

    def test_the_file_says_what_is_what(self, model, path):
        save_weights(model, path)
        with np.load(path) as file:
            names = set(file.files)
            assert file["sdc1_rate2/kernel"].shape == (5, 5, 8, 4)
        assert len(names) == len(model.weights)
        assert {f"bridge_conv_norm/{n}" for n in ("gamma", "beta", "moving_mean")} < names
        assert {"bridge_conv/kernel", "reconstruction/bias"} < names

    def test_of_a_gated_network(self, path):
        config = ModelConfig(width=0.0625, answer="gated", context=2)
        model, other = (network(seed, config) for seed in (0, 1))
        assert len(named_variables(model)) == len(model.weights)
        save_weights(model, path)
        load_weights(other, path)
        assert_same(values(other), values(model))


class TestFilesThatDoNotFit:
    @pytest.fixture(autouse=True)
    def _nothing_is_assigned(self, model):
        before = values(model)
        yield
        assert_same(values(model), before)

    def test_another_width(self, model, path):
        save_weights(network(config=ModelConfig(width=0.125)), path)
        with pytest.raises(
            RunError, match=r"weights\.npz: weight 'encoder1_conv1/kernel' has shape"
        ):
            load_weights(model, path)

    def test_another_answer(self, model, path):
        save_weights(model, path)
        gated = network(config=ModelConfig(width=0.0625, answer="gated"))
        before = values(gated)
        with pytest.raises(RunError, match=r"has no weight 'gate_\S+', so it belongs to"):
            load_weights(gated, path)
        assert_same(values(gated), before)

    def test_a_weight_missing(self, model, path):
        arrays = {k: v + 1 for k, v in values(model).items() if k != "reconstruction/bias"}
        np.savez(path, **arrays)
        with pytest.raises(RunError, match="has no weight 'reconstruction/bias'"):
            load_weights(model, path)

    @pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.9, 0.999])
    def test_a_truncated_file(self, model, path, kept):
        save_weights(model, path)
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(RunError, match=r"weights\.npz: can't be read as weights"):
            load_weights(model, path)

    def test_damaged_content(self, model, path):
        save_weights(model, path)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        with pytest.raises(RunError, match="can't be read as weights"):
            load_weights(model, path)

    @pytest.mark.parametrize("content", [b"not a file of arrays", b"\x80\x04N."])
    def test_another_kind_of_file(self, model, path, content):
        path.write_bytes(content)
        with pytest.raises(RunError, match="can't be read as weights"):
            load_weights(model, path)

    def test_a_single_array(self, model, path):
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
        with pytest.raises(RunError, match="can't be read as weights"):
            load_weights(model, path)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
    def test_values_that_are_not_finite(self, model, path, value):
        arrays = {name: array.astype(np.float64) for name, array in values(model).items()}
        arrays["encoder1_conv1/kernel"].flat[3] = value
        np.savez(path, **arrays)
        with pytest.raises(RunError, match="'encoder1_conv1/kernel' has NaN or infinity"):
            load_weights(model, path)

    def test_variances_below_zero(self, model, path):
        arrays = values(model)
        (name, *_) = (name for name in arrays if name.endswith("variance"))
        arrays[name] = -arrays[name]
        np.savez(path, **arrays)
        with pytest.raises(RunError, match=f"'{name}' has negative values"):
            load_weights(model, path)

    @pytest.mark.parametrize("dtype", [complex, "U8", np.int32])
    def test_other_types(self, model, path, dtype):
        arrays = values(model)
        arrays["reconstruction/bias"] = arrays["reconstruction/bias"].astype(dtype)
        np.savez(path, **arrays)
        with pytest.raises(RunError, match="'reconstruction/bias' has dtype"):
            load_weights(model, path)

    def test_a_weight_too_many(self, model, path):
        np.savez(path, **values(model), **{"gate/kernel": np.zeros(3, np.float32)})
        with pytest.raises(RunError, match="has a weight 'gate/kernel', so it belongs to another"):
            load_weights(model, path)

    def test_a_file_that_unpacks_to_more(self, model, path):
        np.savez_compressed(path, **values(model), zeros=np.zeros(10**6))
        with pytest.raises(RunError, match=r"can't be read as weights .* bytes are said to be in"):
            load_weights(model, path)

    def test_objects_are_not_unpickled(self, model, path):
        np.savez(path, **{"encoder1_conv1/kernel": np.array([{}], dtype=object)})
        with pytest.raises(RunError, match="can't be read as weights"):
            load_weights(model, path)

    def test_no_file(self, model, path):
        with pytest.raises(RunError, match=r"weights\.npz: can't be read as weights"):
            load_weights(model, path)


def test_a_failed_write_leaves_the_old_file(model, path, monkeypatch):
    save_weights(model, path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(RunError, match="no space left"):
        save_weights(model, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


OTHER = """
import sys
from pathlib import Path
import numpy as np, tensorflow as tf
from ssae_tf.config import ModelConfig
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.weights import load_weights, save_weights
from ssae_tf.training.state import load_state

folder = Path(sys.argv[1])
x = np.load(folder / "x.npy")
model = autoencoder(ModelConfig(width=0.0625), training_size=64, seed=5)
optimizer = tf.keras.optimizers.Adam()
optimizer.build(model.trainable_variables)
save_weights(model, folder / "theirs.npz")
np.save(folder / "theirs.npy", model(x, training=False))
load_weights(model, folder / "ours.npz")
np.save(folder / "ours.npy", model(x, training=False))
print(tf.__version__, load_state(folder / "state.npz", model, optimizer))
"""


def test_the_other_keras_version_opens_our_files_and_we_its(model, tmp_path, project_root, rng):
    python = os.environ.get("SSAE_TF_OTHER_PYTHON")
    if not python:
        pytest.skip("SSAE_TF_OTHER_PYTHON names no Python with the other Keras version")
    x = rng.random((2, 64, 40, 3), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    save_weights(model, tmp_path / "ours.npz")
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    save_state(tmp_path / "state.npz", model, optimizer, Progress(7, 0.25, 1.5))
    done = subprocess.run(
        [python, "-c", OTHER, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(project_root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    version, _, said = done.stdout.splitlines()[-1].partition(" ")
    assert version != tf.__version__, f"{python} has the version of {sys.executable}"
    assert said == str(Progress(7, 0.25, 1.5))

    np.testing.assert_allclose(np.load(tmp_path / "ours.npy"), model(x, training=False), atol=1e-5)
    load_weights(model, tmp_path / "theirs.npz")
    np.testing.assert_allclose(
        np.load(tmp_path / "theirs.npy"), model(x, training=False), atol=1e-5
    )
    load_state(tmp_path / "state.npz", model, optimizer)
