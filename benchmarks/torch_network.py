"""Table 1 and objective (1) in PyTorch, for comparisons: the package itself needs none of it."""

from __future__ import annotations

import torch
from torch import nn

RATES = (1, 2, 4, 8, 16)


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


def freeze_norm(model: nn.Module) -> None:
    """Lets batch normalisation normalise with its moving statistics; scale and offset train on."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


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
