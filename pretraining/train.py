"""Makes the weights that the package ships: ssae_tf/models/width-*.npz.

    python pretraining/train.py --out /tmp/pretraining

draws procedural surfaces, trains Table 1 on them as on any category, and writes the float16 file
into the package. About an hour and a half on one core; repeatable on one machine. The settings are
those of `quick`, but for the start and a corruption of every family, so that whatever a category
is fine-tuned with has been seen.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import cv2
import numpy as np
from surfaces import random_surface

from ssae_tf import config as config_module
from ssae_tf.models import pretrained
from ssae_tf.training.threads import use_cores
from ssae_tf.workflow import fit

_SEED = 11
_SIDE = 256
_CHANGES = {
    "model.start": "low_pass",
    "corruption.elastic": 0.5,
    "corruption.texture": 0.2,
    "corruption.cut_out": 0.15,
    "corruption.patch_swap": 0.15,
    "corruption.contrast": 0.5,
    "corruption.opacity": [0.4, 1.0],
    "scoring.scales": [1],
    "training.evaluations": 28,
}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Pictures and run.")
@click.option("--count", default=1500, show_default=True, help="Surfaces, a picture each.")
@click.option("--steps", default=14000, show_default=True, help="Of 8 crops of 64².")
@click.option("--width", default=0.375, show_default=True, help="Of Table 1.")
def main(out: Path, count: int, steps: int, width: float) -> None:
    """Draws the surfaces, trains, and writes the file."""
    folder = out / "procedural" / "train" / "good"
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        surface = random_surface(np.random.default_rng([_SEED, index]), _SIDE)
        cv2.imwrite(str(folder / f"{index:04d}.png"), surface[..., ::-1])
    use_cores()
    config = config_module.preset("quick", "procedural")
    config = config_module.override(config, {**_CHANGES, "model.width": width})
    (stage,) = config.training.stages
    training = dataclasses.replace(
        config.training, stages=(dataclasses.replace(stage, steps=steps),)
    )
    config = dataclasses.replace(config, training=training)
    fitted = fit(out, "procedural", out=out / "run", config=config, overwrite=True)
    target = Path(pretrained.__file__).parent / f"width-{width:g}.npz"
    pretrained.write_shipped(fitted.folder / "weights.npz", target)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
