"""What every setting of model, data and training changes in a training."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssae_tf import workflow
from ssae_tf.progress import Reporter
from ssae_tf.training import loop
from ssae_tf.training.loop import Trainer
from ssae_tf.training.schedule import learning_rate

STEPS = 3
BASE = {"training.stages": [{"size": 16, "batch_size": 2, "steps": STEPS}]}


@pytest.fixture
def trainer(caches, configure, small):
    return lambda changes=None: Trainer(
        *caches, configure({**BASE, **(changes or {})}), Reporter(quiet=True)
    )


def weights(model):
    return {
        f"{layer.name}/{k}": np.array(tf.convert_to_tensor(variable))
        for layer in model.layers
        for k, variable in enumerate(layer.weights)
    }


def run(one):
    """All steps without evaluations: the weights, and what each step said."""
    figures = [np.array(step) for _, step in one._steps(0)]
    return weights(one.model), figures


@pytest.fixture(scope="module")
def base(caches, configure, put_stand_ins):
    with pytest.MonkeyPatch.context() as monkeypatch:
        put_stand_ins(monkeypatch)
        return run(Trainer(*caches, configure(BASE), Reporter(quiet=True)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training.learning_rate", 0.1),
        ("training.seed", 1),
        ("training.stages", [{"size": 16, "batch_size": 1, "steps": STEPS}]),
        ("training.stages", [{"size": 24, "batch_size": 2, "steps": STEPS}]),
        ("training.stages", [{"size": 16, "batch_size": 2, "steps": STEPS + 1}]),
        ("data.rotate", False),
        ("data.flip_horizontal", False),
        ("data.flip_vertical", False),
        ("objective.equation", 2),
        ("objective.weight", 0.9),
        ("objective.norm", "l2_squared"),
        ("objective.norm", "l1"),
        ("objective.norm", "ssim"),
    ],
)
def test_it_changes_the_trained_weights(trainer, base, name, value):
    assert len(base[1]) == STEPS
    changed, _ = run(trainer({name: value}))
    assert any(not np.allclose(changed[n], base[0][n], rtol=1e-4) for n in changed)


def test_same_settings_do_not(trainer, base):
    again, _ = run(trainer())
    for name, value in again.items():
        np.testing.assert_allclose(value, base[0][name], rtol=1e-6, err_msg=name)


def test_the_rate_of_every_step_is_the_schedules(trainer, monkeypatch):
    rates = []
    real = loop.make_step

    def make_step(model, optimizer, *rest):
        step = real(model, optimizer, *rest)

        def recorded(*args):
            rates.append(float(tf.convert_to_tensor(optimizer.learning_rate)))
            return step(*args)

        return recorded

    monkeypatch.setattr(loop, "make_step", make_step)
    one = trainer({"training.learning_rate": 0.25})
    run(one)
    expected = [learning_rate(step, one.config.training) for step in range(STEPS)]
    assert rates == pytest.approx(expected, rel=1e-6)


def test_what_the_network_is_built_with(trainer, caches, small, monkeypatch):
    calls = []

    def autoencoder(config, training_size, **kwargs):
        calls.append((config, training_size, kwargs))
        return small(config, training_size, **kwargs)

    monkeypatch.setattr(loop, "autoencoder", autoencoder)
    stages = [{"size": size, "batch_size": 1, "steps": 1} for size in (96, 32, 64)]
    one = trainer(
        {
            "training.stages": stages,
            "training.seed": 5,
            "model.width": 0.5,
            "model.answer": "gated",
            "model.context": 2,
        }
    )
    ((config, size, others),) = calls
    assert config is one.config.model
    assert (config.width, config.answer, config.context) == (0.5, "gated", 2)
    # Of the smallest images: taps that these do not reach start at zero.
    assert size == 32
    assert others["seed"] == 5
    colour = np.mean([p.mean(axis=(0, 1)) for p in caches[0].images], axis=0) / 255
    np.testing.assert_allclose(others["mean_colour"], colour, rtol=1e-6)


class _Reached(Exception):
    """The trainer would begin now."""


def test_settings_of_the_images_reach_the_trainer(configure, tmp_path, monkeypatch):
    for k in range(20):
        assert cv2.imwrite(str(tmp_path / f"{k}.png"), np.full((16, 16, 3), 1000, np.uint16))
    (tmp_path / "broken.png").write_bytes(b"")
    caches = {}

    def trainer(train, select, config, *_):
        caches.update(train=train, select=select)
        raise _Reached

    monkeypatch.setattr(workflow, "Trainer", trainer)
    changes = {
        "data.select_fraction": 0.3,
        "data.calibrate_fraction": 0.4,
        "data.white_level": 2000,
        "data.cache": "disk",
        "data.skip_unreadable": True,
    }
    with pytest.raises(_Reached):
        workflow.fit(
            tmp_path, out=tmp_path / "run", config=configure(changes), reporter=Reporter(quiet=True)
        )
    # Of 21 files 6 are to select with and 8 to calibrate with; the broken one may be anywhere.
    assert len(caches["select"].samples) + len(caches["select"].skipped) == 6
    assert len(caches["train"].samples) + len(caches["train"].skipped) == 21 - 6 - 8
    for cache in caches.values():
        assert cache.location == "disk"
        assert {float(level) for image in cache.images for level in image.flat} == {0.5}
