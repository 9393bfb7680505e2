"""The architectures of benchmarks/causes.py: three families of ammup, and nets as users write them.

Each net has its depth units in a list ``layers`` or ``blocks``. Axes: B batch, T token, C channel, H and W positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ammup


@dataclass(frozen=True, kw_only=True)
class Family:
    """A factory and the shape of its inputs.

    Attributes:
        net: ``net(depth, seed=...)``.
        shape: shape of a batch.
        residual: whether the units are residual blocks.
        normalized: whether normalization layers follow or precede the weights.
        divided: whether the branches are divided by their number.
    """

    net: Callable[..., nn.Module]
    shape: tuple[int, ...]
    residual: bool = False
    normalized: bool = False
    divided: bool = False


class TorchMLP(nn.Module):
    """nn.Linear and ReLU with He initialization and biases."""

    def __init__(self, depth: int, width: int = 48) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(48 if i == 0 else width, width) for i in range(depth))
        self.head = nn.Linear(width, 10)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)


class ResidualStack(nn.Module):
    """A stem, residual blocks, a last norm and a readout of the mean over all positions or tokens."""

    def __init__(self, stem: nn.Module, blocks: Sequence[nn.Module], norm: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.stem, self.blocks, self.norm, self.head = stem, nn.ModuleList(blocks), norm, head

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x.flatten(2).mean(2) if x.dim() == 4 else x.mean(1) if x.dim() == 3 else x)


def _added(block: nn.Module, x: Tensor, branch: Tensor) -> Tensor:
    return x + branch if block.skip else branch


class PreActBlock(nn.Module):
    """BN, ReLU, convolution, twice; skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        nn.init.kaiming_normal_(self.conv1.weight)
        nn.init.kaiming_normal_(self.conv2.weight)
        self.skip = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        h = self.conv1(self.bn1(x).relu())
        return _added(self, x, self.conv2(self.bn2(h).relu()))


class Attention(nn.Module):
    """Self-attention with two heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c))


class ViTBlock(nn.Module):
    """Attention and MLP, each behind a layer norm, with skips."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.rise, self.fall = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.skip = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        x = _added(self, x, self.attention(self.norm1(x)))
        return _added(self, x, self.fall(F.gelu(self.rise(self.norm2(x)))))


class Patches(nn.Module):
    """Patches of 2×2 pixels as tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, T, C)."""
        return self.conv(x).flatten(2).transpose(1, 2)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, layer norm, inverted bottleneck with GELU, skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = ChannelNorm(width)
        self.rise, self.fall = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, width, 1)
        self.skip = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return _added(self, x, self.fall(F.gelu(self.rise(self.norm(self.depthwise(x))))))


class PostNormBlock(nn.Module):
    """The layer norm follows the addition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rise, self.fall, self.norm = nn.Linear(width, 2 * width), nn.Linear(2 * width, width), nn.LayerNorm(width)
        self.skip = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) to the same shape."""
        return self.norm(_added(self, x, self.fall(self.rise(x).relu())))


class DividedBlock(nn.Module):
    """Two linear layers without normalization; the variance of the last one is divided by the number of blocks."""

    def __init__(self, width: int, n_blocks: int) -> None:
        super().__init__()
        self.rise, self.fall = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        nn.init.normal_(self.rise.weight, std=(2 / width) ** 0.5)
        nn.init.normal_(self.fall.weight, std=(2 / width / n_blocks) ** 0.5)
        self.skip = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) to the same shape."""
        return _added(self, x, self.fall(self.rise(x.relu()).relu()))


def _seeded(build: Callable[[int], nn.Module]) -> Callable[..., nn.Module]:
    def net(depth: int, seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return build(depth)

    return net


def _stack(
    block: Callable[[], nn.Module], stem: Callable[[], nn.Module], norm: Callable[[], nn.Module], width: int
) -> Callable[..., nn.Module]:
    return _seeded(lambda depth: ResidualStack(stem(), [block() for _ in range(depth)], norm(), nn.Linear(width, 10)))


def _divided(depth: int) -> nn.Module:
    stem = nn.Sequential(nn.Flatten(), nn.Linear(48, 48))
    return ResidualStack(stem, [DividedBlock(48, depth) for _ in range(depth)], nn.Identity(), nn.Linear(48, 10))


SMALL = (8, 3, 4, 4)
FAMILIES = {
    "mlp": Family(net=partial(ammup.mlp, width=48, in_features=48), shape=SMALL),
    "cnn": Family(net=partial(ammup.cnn, width=24), shape=SMALL),
    "resnet": Family(net=partial(ammup.resnet, width=16, scaled="last"), shape=SMALL, residual=True, divided=True),
    "torch MLP": Family(net=_seeded(TorchMLP), shape=SMALL),
    "residual MLP": Family(net=_seeded(_divided), shape=SMALL, residual=True, divided=True),
    "pre-activation ResNet": Family(
        net=_stack(partial(PreActBlock, 12), partial(nn.Conv2d, 3, 12, 3, padding=1), partial(nn.BatchNorm2d, 12), 12),
        shape=SMALL,
        residual=True,
        normalized=True,
    ),
    "ViT": Family(
        net=_stack(partial(ViTBlock, 24), partial(Patches, 24), partial(nn.LayerNorm, 24), 24),
        shape=SMALL,
        residual=True,
        normalized=True,
    ),
    "ConvNeXt": Family(
        net=_stack(partial(ConvNeXtBlock, 24), partial(nn.Conv2d, 3, 24, 1), partial(ChannelNorm, 24), 24),
        shape=SMALL,
        residual=True,
        normalized=True,
    ),
    "post-norm": Family(
        net=_stack(partial(PostNormBlock, 32), lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 32)), nn.Identity, 32),
        shape=SMALL,
        residual=True,
        normalized=True,
    ),
}
