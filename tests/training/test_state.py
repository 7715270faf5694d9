"""The saved state of a training is all of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig
from ssae_tf.errors import RunError
from ssae_tf.models.weights import load_arrays, save_weights
from ssae_tf.training.state import Progress, load_state, save_state


@pytest.fixture
def make(small):
    """A network and its optimiser, some steps along."""

    def made(seed=0, steps=0, width=4):
        model = small(ModelConfig(), 16, seed=seed, mean_colour=None)
        optimizer = tf.keras.optimizers.Adam(0.01)
        optimizer.build(model.trainable_variables)
        train(model, optimizer, steps)
        return model, optimizer

    return made


def train(model, optimizer, steps):
    rng = np.random.default_rng(int(optimizer.iterations.numpy()))
    for _ in range(steps):
        x = tf.constant(rng.random((1, 8, 8, 3)), tf.float32)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - x))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


def weights(model):
    return [np.array(tf.convert_to_tensor(variable)) for variable in model.weights]


def test_training_goes_on_as_if_it_had_not_stopped(make, tmp_path):
    path = tmp_path / "state.npz"
    model, optimizer = make(steps=3)
    save_state(path, model, optimizer, Progress(3, 0.125, 4.5))
    other, other_optimizer = make(seed=1)
    assert load_state(path, other, other_optimizer) == Progress(3, 0.125, 4.5)
    for found, expected in zip(weights(other), weights(model), strict=True):
        np.testing.assert_array_equal(found, expected)
    # Momentum, velocity and the number of steps, which Adam's correction of its start depends on.
    for pair in ((model, optimizer), (other, other_optimizer)):
        train(*pair, steps=2)
    for found, expected in zip(weights(other), weights(model), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_before_the_first_checkpoint(make, tmp_path):
    save_state(tmp_path / "state.npz", *make(), Progress(1))
    assert load_state(tmp_path / "state.npz", *make()) == Progress(1, math.inf, 0.0)


def test_the_learning_rate_is_none_of_it(make, tmp_path):
    # Keras 2 has no such variable, and every step sets it.
    save_state(tmp_path / "state.npz", *make(), Progress())
    shapes = [a.shape for n, a in load_arrays(tmp_path / "state.npz").items() if "optimizer" in n]
    trained = len(make()[0].trainable_variables)
    assert len(shapes) == 1 + 2 * trained
    assert [shape for shape in shapes if shape == ()] == [()]


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_file(make, tmp_path, kept):
    path = tmp_path / "state.npz"
    save_state(path, *make(), Progress(3))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(RunError, match=r"state\.npz: can't be read as weights"):
        load_state(path, *make())


def test_weights_alone_are_no_state(make, tmp_path):
    model, optimizer = make()
    save_weights(model, tmp_path / "state.npz")
    with pytest.raises(RunError, match="so it is no training's state"):
        load_state(tmp_path / "state.npz", model, optimizer)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", -1),
        ("step", 2.5),
        ("step", "3"),
        ("step", [3]),
        ("best_criterion", np.nan),
        ("best_criterion", -np.inf),
        ("seconds", np.nan),
        ("seconds", np.inf),
        ("seconds", -1.0),
    ],
)
def test_progress_that_is_none(make, tmp_path, name, value):
    path, other = tmp_path / "state.npz", make(seed=1)
    save_state(path, *make(steps=1), Progress(3, 0.5, 1.0))
    before = weights(other[0])
    np.savez(path, **{**load_arrays(path), name: np.asarray(value)})
    with pytest.raises(RunError, match=r"state\.npz: (has no step|expected a number of steps)"):
        load_state(path, *other)
    for found, expected in zip(weights(other[0]), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_no_file(make, tmp_path):
    with pytest.raises(RunError, match=r"state\.npz: can't be read"):
        load_state(tmp_path / "state.npz", *make())
