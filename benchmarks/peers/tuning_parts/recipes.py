"""Two families as users train them: a ResNet with momentum, and a vision transformer with AdamW."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

CLASSES = 10
Parameters = Iterable[nn.Parameter]


class Block(nn.Module):
    """The basic block of He et al. (arXiv 1512.03385): two convolutions with batch norm, and ReLU after the sum."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        same = inputs == width and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        return F.relu(self.branch(images) + self.shortcut(images))


def resnet(depth: int) -> nn.Module:
    """A ResNet for CIFAR-10 with two stages of ``depth`` blocks: 16 channels at 4×4, and 32 at 2×2."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inputs = 16
    for stage, width in enumerate((16, 32)):
        for block in range(depth):
            layers.append(Block(inputs, width, 2 if stage and not block else 1))
            inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES))


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        batch, count, width = tokens.shape
        q, k, v = self.qkv(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, count, width))


class TransformerBlock(nn.Module):
    """A pre-norm block (Dosovitskiy et al., arXiv 2010.11929)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(width, heads))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        tokens = tokens + self.attention(tokens)
        return tokens + self.mlp(tokens)


class VisionTransformer(nn.Module):
    """A vision transformer of ``depth`` blocks on 8×8 images: 16 patches of 2×2, and the mean of all tokens."""

    def __init__(self, depth: int, width: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 2, 2)
        self.positions = nn.Parameter(torch.zeros(16, width))
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(depth)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, CLASSES))
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 8, 8) to logits (B, 10)."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.blocks(tokens).mean(1))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a family is trained.

    Attributes:
        name: of the family.
        build: the net of a depth.
        depths: the base depth first, and then the targets.
        lrs: the learning rates of the full grid.
        optimizer: "sgd" or "adamw".
        warm_up: share of the steps over which the learning rate rises.
        momentum: of SGD, which is also β1 of AdamW.
        weight_decay: as usual for this optimizer.
    """

    name: str
    build: Callable[[int], nn.Module]
    depths: tuple[int, ...]
    lrs: tuple[float, ...]
    optimizer: str
    warm_up: float
    momentum: float
    weight_decay: float

    def tuned_by_rate(self, parameters: Parameters, lr: float) -> Optimizer:
        """The optimizer of the recipe."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr, momentum=self.momentum, weight_decay=self.weight_decay, fused=True)
        decay, betas = self.weight_decay, (self.momentum, 0.999)
        return torch.optim.AdamW(parameters, lr, betas=betas, weight_decay=decay, fused=True)

    def share(self, step: int, steps: int) -> float:
        """The share of the learning rate at a step: linear warm-up and half of a cosine."""
        rise = round(self.warm_up * steps)
        return (step + 1) / rise if step < rise else 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))

    def schedule(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """The schedule for an optimizer of torch."""
        return LambdaLR(optimizer, partial(self.share, steps=steps))


def doubled(lowest: float, count: int) -> tuple[float, ...]:
    """``count`` learning rates, each twice the one before, with three digits."""
    return tuple(float(f"{lowest * 2**k:.3g}") for k in range(count))


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="resnet-sgd", build=resnet, depths=(1, 2, 4), lrs=doubled(0.003, 12), optimizer="sgd",
            warm_up=0.0, momentum=0.9, weight_decay=5e-4,
        ),
        Recipe(
            name="vit-adamw", build=VisionTransformer, depths=(1, 2, 4), lrs=doubled(1e-4, 12), optimizer="adamw",
            warm_up=0.1, momentum=0.9, weight_decay=0.05,
        ),
    )
}  # fmt: skip
