"""PyTorch's side of `inference.py` and `peers.py`, for an environment that has PyTorch.

Writes a network with random weights as ONNX if asked to, says what it costs in a line of JSON, and
runs it once for every line of stdin, answering with the seconds.

    python benchmarks/torch_peers.py NAME SIDE [--width 0.375] [--taps 2 1 0 0 0] [--onnx FILE]

`table-1` is the package's network as it is exported, with batch normalisation folded; the others
are the methods of `anomalib`, from a picture to its anomaly map.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from unittest import mock

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch_network import RATES, network

# Pictures of MVTec AD's leather, of which PatchCore keeps a share of all patches.
_PICTURES = 245


def table_1(width: float, taps: tuple[int, ...]) -> nn.Module:
    """F as it is exported: biases in place of batch normalisation.

    Args:
        width: as in the package.
        taps: of the dilated kernels of each rate, on either side of the middle.
    """
    layers = [one for one in network(width, taps) if not isinstance(one, nn.BatchNorm2d)]
    model = nn.Sequential(*layers)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.bias is None:
            module.bias = nn.Parameter(torch.zeros(module.out_channels))
    return model


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
    kept = round(share * _PICTURES * (side // 8) ** 2)
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


def main() -> None:
    """Says what the network costs, and runs it whenever it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name")
    parser.add_argument("side", type=int)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--taps", type=int, nargs=len(RATES), default=[2] * len(RATES))
    parser.add_argument("--onnx")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    model = asked_for(arguments)
    x = torch.rand(1, 3, arguments.side, arguments.side)
    # Exporters print.
    out, sys.stdout = sys.stdout, sys.stderr
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(x)
    if arguments.onnx:
        torch.onnx.export(model, (x,), arguments.onnx, dynamo=False, opset_version=17)
    model = model.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    sys.stdout = out
    about = {"multiply_adds": counter.get_total_flops() // 2, "torch": torch.__version__}
    print(json.dumps(about), flush=True)
    with torch.inference_mode():
        for _ in sys.stdin:
            begin = time.perf_counter()
            model(x)
            print(time.perf_counter() - begin, flush=True)


if __name__ == "__main__":
    main()
