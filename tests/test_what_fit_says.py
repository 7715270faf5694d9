"""The line before training: how long, how many steps."""

from __future__ import annotations

import pytest

from ssae_tf import config as config_module
from ssae_tf.preparation import announce
from stand_ins import Listener


@pytest.mark.parametrize(("steps", "said"), [(1, "1 step at 64²"), (2, "2 steps at 64²")])
def test_one_step_is_one(steps: int, said: str) -> None:
    config = config_module.override(
        config_module.preset("quick"),
        {"training.stages": [{"size": 64, "batch_size": 2, "steps": steps}]},
    )
    listener = Listener()
    announce(config, 7.0, None, listener)
    assert f"Training takes about 7 s: {said}, width" in listener.said[0]
