"""The peer DRAEM (Zavrtanik et al., ICCV 2021), trained for some minutes and scored as a run is.

Network, losses, augmentation and training loop are DRAEM's own: `train_on_device` of its
train_DRAEM.py is called as it stands, from a copy of https://github.com/VitjanZ/DRAEM (written for
commit 2dbf673, MIT licence) that `--draem` names. What differs from its README's command:

- Textures: DTD is replaced by procedural surfaces, written as JPEGs where it looks for DTD's.
- Processor: `.cuda()` does nothing, so that everything stays on the CPU.
- Time: the 700 epochs are 10 parts of equal time, so that the learning rate still falls after 80
  and 90 % of the training. A step begun in time is finished; checkpoints count as training.
- Batches are always full. An epoch of fewer pictures than a batch would end in a smaller one.
- Batches are made between the steps (0.5 s for a batch) and not by 16 other processes, for which
  there are no cores, and whose copies of imgaug's generator would all draw the same numbers.
- Folders: the pictures are linked into a temporary folder under the names that it looks for (PNG).
- TensorBoard isn't imported; nothing is written to it without `--visualize` anyway.
- Testing: maps are brought from 256 × 256 to the picture's own size, and pixel figures taken there,
  by the code that measures a run. The image score is its own: the map's maximum after averaging
  over 21 × 21 pixels at 256 × 256.

It trains on all of train/good, of which a run keeps a part to choose checkpoint and threshold.
DRAEM has no rule for a threshold, so what depends on one is left out.

    PYTHONPATH=. python benchmarks/peer_draem.py --draem DIR --data ROOT --category NAME
        --minutes N [--seed 0] [--threads N] [--batch-size 8] [--out FILE.json]

It needs an environment of its own (`PIP` below) and no TensorFlow.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import platform
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PIP = (
    'pip install torch "numpy<2" opencv-python-headless scipy scikit-image imageio shapely six '
    "matplotlib rich && pip install --no-deps imgaug==0.4.0"
)

try:
    import cv2
    import imgaug
    import numpy as np
    import torch
    from figures import command_line

    from benchmarks.surfaces import random_surface
    from ssae_tf._version import __version__
    from ssae_tf.data import images
    from ssae_tf.data.mvtec import Category, Sample, load_category, read_sample_mask
    from ssae_tf.evaluation.protocol import PictureResult, summarize
    from ssae_tf.files import write_json
    from ssae_tf.progress import Reporter, duration
except ImportError as error:
    sys.exit(f"{error}: run with PYTHONPATH=. in an environment made by: {PIP}")

SIDE = 256
LEARNING_RATE = 0.0001
PARTS = 10  # 0.8 · 10 and 0.9 · 10 are whole: the schedule compares them with the epoch's number.
TEXTURES = 1000
OBJECT = "category"
FIGURES = ("image_auroc", "pixel_auroc", "aupro")
COUNTS = ("n_test", "n_defective", "n_without_mask")
NOTE = (
    "DRAEM by its own code, with procedural textures in place of DTD, for a time in place of 700 "
    "epochs; `seconds` is that of training alone. benchmarks/peer_draem.py says what else differs."
)


class TimedLoader:
    """Stands where DRAEM makes its DataLoader: each pass over it is a part of the time."""

    def __init__(self, seconds: float, reporter: Reporter) -> None:
        self.steps = 0
        self._seconds = seconds
        self._reporter = reporter
        self._parts = 0

    def make(self, dataset: Any, batch_size: int, shuffle: bool, num_workers: int) -> TimedLoader:
        """What DRAEM calls in place of DataLoader; the time starts here, the networks are made."""
        # The data set draws a random picture whatever the index, so there is nothing to shuffle.
        del shuffle, num_workers
        self._dataset = dataset
        self._batch_size = batch_size
        self._begin = self._told = time.monotonic()
        return self

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begin

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Batches until the part is over; a pass that comes too late has none."""
        self._parts += 1
        while self.passed < self._seconds * self._parts / PARTS:
            samples = [self._dataset[0] for _ in range(self._batch_size)]
            yield torch.utils.data.default_collate(samples)
            self.steps += 1
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= 15:
            self._told = now
            left = duration(max(0.0, self._seconds - self.passed))
            pace = self.passed / self.steps
            self._reporter.say(f"Step {self.steps}: {left} left, {pace:.1f} s a step")


def borrow(folder: Path) -> types.ModuleType:
    """DRAEM's training script as a module, on the CPU and without TensorBoard."""

    def stay(self: Any, device: Any = None) -> Any:
        del device
        return self

    torch.nn.Module.cuda = torch.Tensor.cuda = stay
    stub = types.ModuleType("tensorboard_visualizer")
    stub.TensorboardVisualizer = types.SimpleNamespace
    sys.modules[stub.__name__] = stub
    sys.path.insert(0, str(folder.resolve()))
    return importlib.import_module("train_DRAEM")


def lay_out(category: Category, folder: Path, seed: int, reporter: Reporter) -> None:
    """Links the training pictures and draws the textures where DRAEM looks for them."""
    pictures, textures = folder / OBJECT / "train" / "good", folder / "textures" / "drawn"
    pictures.mkdir(parents=True)
    textures.mkdir(parents=True)
    for index, sample in enumerate(category.train):
        # OpenCV goes by the content: the ending only has to be the one that is looked for.
        (pictures / f"{index:05d}.png").symlink_to(sample.path.resolve())
    rng = np.random.default_rng(seed)
    with reporter.task("Drawing textures", TEXTURES) as task:
        for index in range(TEXTURES):
            texture = cv2.cvtColor(random_surface(rng, SIDE), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(textures / f"{index:05d}.jpg"), texture)
            task.advance()


def train(
    draem: types.ModuleType, folder: Path, minutes: float, batch_size: int, reporter: Reporter
) -> tuple[list[torch.nn.Module], int, float]:
    """The two trained networks, the number of steps and the seconds they took."""
    settings = argparse.Namespace(
        data_path=f"{folder}/",
        anomaly_source_path=str(folder / "textures"),
        checkpoint_path=str(folder / "checkpoints"),
        log_path=str(folder / "logs"),
        lr=LEARNING_RATE,
        bs=batch_size,
        epochs=PARTS,
        visualize=False,
    )
    loader = TimedLoader(60.0 * minutes, reporter)
    draem.DataLoader = loader.make
    # It prints the number of each epoch; stdout is for results.
    with contextlib.redirect_stdout(sys.stderr):
        draem.train_on_device([OBJECT], settings)
    seconds = loader.passed
    name = f"DRAEM_test_{LEARNING_RATE}_{PARTS}_bs{batch_size}_{OBJECT}_"
    networks = [
        draem.ReconstructiveSubNetwork(in_channels=3, out_channels=3),
        draem.DiscriminativeSubNetwork(in_channels=6, out_channels=2),
    ]
    for network, ending in zip(networks, (".pckl", "_seg.pckl"), strict=True):
        network.load_state_dict(torch.load(folder / "checkpoints" / (name + ending)))
        network.eval()
    return networks, loader.steps, seconds


@torch.inference_mode()
def inspect(networks: list[torch.nn.Module], reader: Any, sample: Sample) -> PictureResult:
    """What the networks say of a test picture, as test_DRAEM.py computes it.

    Args:
        networks: the reconstructive and the discriminative one.
        reader: DRAEM's test data set, which brings a picture to 256 × 256.
        sample: the picture.
    """
    height, width = images.read_pixels(sample.path).shape[:2]
    picture = torch.from_numpy(reader.transform_image(str(sample.path), None)[0])[None]
    reconstruct, discriminate = networks
    logits = discriminate(torch.cat((reconstruct(picture), picture), dim=1))
    levels = torch.softmax(logits, dim=1)[:, 1:]
    smoothed = torch.nn.functional.avg_pool2d(levels, 21, stride=1, padding=21 // 2)
    return PictureResult(
        path=str(sample.path),
        kind=sample.kind,
        score=float(smoothed.max()),
        is_anomalous=False,
        anomaly_map=cv2.resize(levels[0, 0].numpy(), (width, height)),
        predicted_mask=np.zeros((height, width), np.bool_),
        true_mask=read_sample_mask(sample, (height, width)),
    )


def measure(
    networks: list[torch.nn.Module], category: Category, reporter: Reporter
) -> dict[str, Any]:
    """The figures of metrics.json that need no threshold, for all test pictures and each kind."""
    reader = importlib.import_module("data_loader").MVTecDRAEMTestDataset(
        str(category.root / "test"), [SIDE, SIDE]
    )
    results = []
    with reporter.task("Testing", len(category.test)) as task:
        for sample in category.test:
            results.append(inspect(networks, reader, sample))
            task.advance()
    found = summarize(results, threshold=float("inf"), min_area=1)

    def kept(metrics: dict[str, Any]) -> dict[str, Any]:
        return {name: metrics[name] for name in (*FIGURES, *COUNTS)}

    return {**kept(found), "kinds": {kind: kept(part) for kind, part in found["kinds"].items()}}


def row(name: str, metrics: dict[str, Any]) -> str:
    """A line of the Markdown table."""
    cells = ("–" if metrics[key] is None else f"{metrics[key]:.3f}" for key in FIGURES)
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Prints a Markdown table, and writes the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draem", type=Path, required=True, help="a copy of its repository")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--category", required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not (arguments.draem / "train_DRAEM.py").is_file():
        parser.error(f"{arguments.draem}: expected a copy of DRAEM, found no train_DRAEM.py.")
    category = load_category(arguments.data, arguments.category)
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    torch.manual_seed(arguments.seed)
    np.random.seed(arguments.seed)  # noqa: NPY002  DRAEM draws from the global generator.
    imgaug.seed(arguments.seed)

    reporter = Reporter()
    draem = borrow(arguments.draem)
    # Holds 390 MB of checkpoints.
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lay_out(category, folder, arguments.seed, reporter)
        networks, steps, seconds = train(
            draem, folder, arguments.minutes, arguments.batch_size, reporter
        )
    reporter.say(f"{steps} steps in {duration(seconds)}, {seconds / steps:.1f} s a step.")
    metrics = measure(networks, category, reporter)
    print("| pictures |", " | ".join(FIGURES), "|\n" + "|---" * (len(FIGURES) + 1) + "|")
    print(row("all", metrics))
    for kind, part in metrics["kinds"].items():
        print(row(kind, part))
    if arguments.out:
        result = {
            "command": command_line(FILE=arguments.out, DRAEM=arguments.draem, ROOT=arguments.data),
            "note": NOTE,
            "versions": {
                "ssae_tf": __version__,
                "torch": torch.__version__,
                "imgaug": imgaug.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "cpu_count": os.cpu_count(),
            "threads": arguments.threads,
            "seed": arguments.seed,
            "batch_size": arguments.batch_size,
            "minutes": arguments.minutes,
            "steps": steps,
            "seconds": seconds,
            "metrics": metrics,
        }
        write_json(arguments.out, result)


if __name__ == "__main__":
    main()
