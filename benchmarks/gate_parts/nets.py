"""A ViT and a ConvNeXt as users write them, and faults to plant in them.

Axes: B batch, T token, C channel, H and W positions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class VitBlock(nn.Module):
    """Pre-norm self-attention and a feed-forward network, each in a residual branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, or the tokens of the next block."""
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Vit(nn.Module):
    """A vision transformer on 8×8 images with patches of 2×2."""

    def __init__(self, depth: int, dim: int = 32) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 2, stride=2)
        self.position = nn.Parameter(0.02 * torch.randn(1, 16, dim))
        self.blocks = nn.Sequential(*(VitBlock(dim) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, or the tokens of the next block."""
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        out: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return out


class ConvNextBlock(nn.Module):
    """A depthwise convolution and a feed-forward network in a residual branch with a scale for each channel."""

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, or the tokens of the next block."""
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.mlp(h)).permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """A ConvNeXt of one stage on 8×8 images; each branch is divided by the square root of the number of blocks."""

    def __init__(self, depth: int, dim: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 2, stride=2)
        self.blocks = nn.Sequential(*(ConvNextBlock(dim, depth**-0.5) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, or the tokens of the next block."""
        out: Tensor = self.head(self.norm(self.blocks(self.stem(x)).mean((2, 3))))
        return out


@torch.no_grad()
def _times(factor: float, *weights: Tensor) -> None:
    for weight in weights:
        weight.mul_(factor)


def _vit_without_skip(model: Vit) -> None:
    for block in model.blocks:
        block.forward = lambda x, b=block: b.mlp(b.norm2(x + b.attention(*[b.norm1(x)] * 3, need_weights=False)[0]))


# Faults that change η*. One feed-forward layer of the first block at 2x is not among them: it changes η* of these nets
# by less than 20 %, within the standard errors of two checks.
FAULTS: Mapping[type[nn.Module], Mapping[str, Callable[[Any], object]]] = {
    Vit: {
        "first layer 2x": lambda m: _times(2, m.embed.weight),
        "readout 2x": lambda m: _times(2, m.head.weight),
        "branches 2x": lambda m: [_times(2, b.attention.out_proj.weight, b.mlp[2].weight) for b in m.blocks],
        "skip of the feed-forward lost": _vit_without_skip,
    },
    ConvNext: {
        "first layer 2x": lambda m: _times(2, m.stem.weight),
        "readout 2x": lambda m: _times(2, m.head.weight),
        "branches not scaled": lambda m: _times(len(m.blocks) ** 0.5, *(b.scale for b in m.blocks)),
        "branches 2x": lambda m: _times(2, *(b.scale for b in m.blocks)),
    },
}
