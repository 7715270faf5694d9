"""PyTorch's side of `inference.py`, `peers.py` and `peer_step.py`, in an environment of its own.

Writes a network with random weights as ONNX if asked to, says what it costs in a line of JSON, and
runs it once for every line of stdin, answering with the seconds.

    python benchmarks/torch_peers.py NAME SIDE [--width 0.375] [--taps 2 1 0 0 0] [--onnx FILE]

`table-1` is the package's network as it is exported, with batch normalisation folded, `step` and
`step-compiled` are a training step of it (with --batch and --norm); the others are the methods of
`anomalib`, from an image to its anomaly map.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from measure import corrupted_images, here
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

RATES = (1, 2, 4, 8, 16)

# Images of MVTec AD's leather, of which PatchCore keeps a share of all patches.
_IMAGES = 245


class Stacked(nn.Module):
    """Dilated convolutions side by side, joined."""

    def __init__(self, inputs: int, outputs: int, taps: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(
                inputs, outputs, 2 * count + 1, padding=count * rate, dilation=rate, bias=False
            )
            for rate, count in zip(RATES, taps, strict=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, branches · outputs, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def network(width: float, taps: tuple[int, ...]) -> nn.Module:
    """The layers of Table 1, channels last, in training mode.

    Args:
        width: scales the filter counts.
        taps: on either side of the middle, of the dilated kernels of each rate.
    """
    layers: list[nn.Module] = []
    channels = 3

    def add(layer: nn.Module, outputs: int) -> None:
        nonlocal channels
        layers.extend((layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)))
        channels = outputs

    def convolve(filters: int) -> None:
        outputs = round(filters * width)
        add(nn.Conv2d(channels, outputs, 3, padding=1, bias=False), outputs)

    for filters in (32, 64, 128):
        convolve(filters)
        convolve(filters)
        layers.append(nn.MaxPool2d(2))
    for _ in range(4):
        filters = round(64 * width)
        add(Stacked(channels, filters, taps), len(RATES) * filters)
    convolve(256)
    for filters in (256, 128, 64):
        outputs = round(filters * width)
        up = nn.ConvTranspose2d(
            channels, outputs, 3, stride=2, padding=1, output_padding=1, bias=False
        )
        add(up, outputs)
        convolve(filters)
        convolve(filters // 2)
    layers += [nn.Conv2d(channels, 3, 1), nn.Sigmoid()]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last).train()


def objective(
    reconstruction: torch.Tensor, x: torch.Tensor, mask: torch.Tensor, norm: str
) -> torch.Tensor:
    """Objective (1) with λ = 1/2, the mean over a batch; `norm` is "l2" or "l1"."""
    error = reconstruction - x

    def term(region: torch.Tensor) -> torch.Tensor:
        masked = (region * error).flatten(1)
        total = torch.linalg.vector_norm(masked, 2 if norm == "l2" else 1, dim=1)
        return total / region.flatten(1).sum(dim=1)

    return torch.mean(0.5 * term(1.0 - mask) + 0.5 * term(mask))


def table_1(width: float, taps: tuple[int, ...]) -> nn.Module:
    """`network` as it is exported: biases in place of batch normalisation."""
    layers = [one for one in network(width, taps) if not isinstance(one, nn.BatchNorm2d)]
    model = nn.Sequential(*layers)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.bias is None:
            module.bias = nn.Parameter(torch.zeros(module.out_channels))
    return model


def step(arguments: argparse.Namespace) -> Callable[[], object]:
    """A training step on corrupted images, compiled if asked to: objective (1) and Adam."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = network(arguments.width, tuple(arguments.taps))
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    x, x_hat, mask = (
        torch.from_numpy(one).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        for one in corrupted_images(arguments.batch, arguments.side)
    )
    answer = torch.compile(model) if arguments.name == "step-compiled" else model

    def take() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = objective(answer(x_hat), x, mask, arguments.norm)
        loss.backward()
        optimizer.step()
        loss.item()

    return take


def efficient_ad() -> nn.Module:
    """EfficientAD-S."""
    from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel

    model = EfficientAdModel()
    for values in (model.mean_std, model.quantiles):
        for name in values:
            values[name] = nn.Parameter(torch.ones_like(values[name]), requires_grad=False)
    return model


def stfpm() -> nn.Module:
    """STFPM on ResNet-18."""
    from anomalib.models.image.stfpm import torch_model

    extractor = torch_model.TimmFeatureExtractor

    def untrained(**settings: object) -> nn.Module:
        return extractor(**{**settings, "pre_trained": False})

    with mock.patch.object(torch_model, "TimmFeatureExtractor", untrained):
        return torch_model.STFPMModel(["layer1", "layer2", "layer3"])


def padim(side: int) -> nn.Module:
    """PaDiM on ResNet-18, 100 features in each place."""
    from anomalib.models.image.padim.torch_model import PadimModel

    model = PadimModel(pre_trained=False)
    places = (side // 4) ** 2
    model.gaussian.mean = torch.randn(model.n_features, places)
    model.gaussian.inv_covariance = torch.randn(places, model.n_features, model.n_features)
    return model


def patchcore(side: int, share: float) -> nn.Module:
    """PatchCore on a wide ResNet-50 with a share of all patches in its memory."""
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel(["layer2", "layer3"], pre_trained=False)
    kept = round(share * _IMAGES * (side // 8) ** 2)
    model.memory_bank = torch.randn(kept, 512 + 1024)
    return model


def draem() -> nn.Module:
    """DRAEM."""
    from anomalib.models.image.draem.torch_model import DraemModel

    return DraemModel()


class MapAlone(nn.Module):
    """A method of anomalib that gives its anomaly map alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) to (B, 1, H, W) or (B, H, W)."""
        return self.model(x).anomaly_map


def asked_for(arguments: argparse.Namespace) -> nn.Module:
    """The network that is asked for."""
    side = arguments.side
    peers: dict[str, Callable[[], nn.Module]] = {
        "efficient-ad": efficient_ad,
        "stfpm": stfpm,
        "padim": lambda: padim(side),
        "patchcore-1": lambda: patchcore(side, 0.01),
        "patchcore-10": lambda: patchcore(side, 0.1),
        "draem": draem,
    }
    if arguments.name == "table-1":
        return table_1(arguments.width, tuple(arguments.taps)).eval()
    return MapAlone(peers[arguments.name]().eval()).eval()


def inspection(arguments: argparse.Namespace) -> tuple[Callable[[], object], dict[str, Any]]:
    """The map of an image, and what it costs; the network is written as ONNX if asked to."""
    model = asked_for(arguments)
    x = torch.rand(1, 3, arguments.side, arguments.side)
    # Exporters print.
    with contextlib.redirect_stdout(sys.stderr):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            model(x)
        if arguments.onnx:
            torch.onnx.export(model, (x,), arguments.onnx, dynamo=False, opset_version=17)
    model = model.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    call = torch.inference_mode()(lambda: model(x))
    return call, {"multiply_adds": counter.get_total_flops() // 2}


def main() -> None:
    """Says what the network costs, and runs it whenever it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name")
    parser.add_argument("side", type=int)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--taps", type=int, nargs=len(RATES), default=[2] * len(RATES))
    parser.add_argument("--onnx")
    parser.add_argument("--batch", type=int, help="of a step")
    parser.add_argument("--norm", help="of a step")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    about: dict[str, Any] = {}
    if arguments.name.startswith("step"):
        call = step(arguments)
    else:
        call, about = inspection(arguments)
    print(json.dumps({**about, "torch": torch.__version__}), flush=True)
    timed = here(call)
    for _ in sys.stdin:
        print(timed(), flush=True)


if __name__ == "__main__":
    main()
