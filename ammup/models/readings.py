"""Other interpretations of the paper's residual scaling (section 4.3), as factories for an experiment file.

Each takes the arguments of :func:`ammup.resnet` except ``c`` and ``scaled``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ammup.models.families import resnet
from ammup.models.nets import ResidualBlock, ResNet

# The value of K if it is interpreted as one constant for all depths: the number of blocks of the deepest net of the
# experiment.
FIXED_BLOCKS = 8


def fixed_scale(depth: int, *, seed: int | None = 0, **arguments: Any) -> ResNet:
    """Var[W] = 2/(8 fan_in) at every depth, instead of 2/(K fan_in)."""
    return resnet(depth, c=CONSTANTS[fixed_scale](depth), seed=seed, **arguments)


def unscaled(depth: int, *, seed: int | None = 0, **arguments: Any) -> ResNet:
    """Var[W] = 2/fan_in: He initialization without any scaling by depth."""
    return resnet(depth, c=CONSTANTS[unscaled](depth), seed=seed, **arguments)


# These nets are `resnet` with another residual variance constant c, a function of the number of blocks.
CONSTANTS: Mapping[Callable[..., ResNet], Callable[[int], float]] = {
    fixed_scale: lambda depth: 2 * depth / FIXED_BLOCKS,
    unscaled: lambda depth: 2.0 * depth,
}


def learnable_scale(depth: int, *, seed: int | None = 0, **arguments: Any) -> ResNet:
    """He initialization in the branches, whose outputs are multiplied by learnable scalars that start at 1/√K."""
    net = unscaled(depth, seed=seed, **arguments)
    net.blocks = nn.ModuleList(
        ScaledBranch(block, depth**-0.5) for block in net.blocks if isinstance(block, ResidualBlock)
    )
    return net


class ScaledBranch(nn.Module):
    """z ← z + s · branch(z) with a learnable scalar s; one depth unit."""

    def __init__(self, block: ResidualBlock, start: float) -> None:
        super().__init__()
        self.block = block
        self.scale = nn.Parameter(torch.tensor(start))

    def forward(self, z: Float[Tensor, "B C *P"]) -> Float[Tensor, "B C *P"]:
        """The residual addition with the scaled branch."""
        merged: Tensor = z + self.scale * self.block.branch_of(z)
        return merged
