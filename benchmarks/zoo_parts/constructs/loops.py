"""Forwards whose depth is a loop: repeated blocks, early exits, solvers."""

from typing import Any

import torch
from torch import Tensor, nn

from zoo_parts.case import Group
from zoo_parts.constructs.common import Residual, vectors
from zoo_parts.constructs.topology import layer

loops = Group("loops")


class EarlyExit(nn.Module):
    """Leaves when it is sure enough: the depth depends on the values."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layers, self.out = layer(6), nn.ModuleList(layer() for _ in range(4)), layer(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the layer at which it stops."""
        z = torch.relu(self.first(x))
        for i, body in enumerate(self.layers):
            z = torch.relu(body(z))
            if i > 0 and self.out(z).softmax(1).amax(1).mean() < 0.9:
                break
        return self.out(z)


class WhileLoop(nn.Module):
    """Applies one layer until the state is large enough."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.body, self.out = layer(6), layer(), layer(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """A loop whose length depends on the values."""
        z, steps = self.first(x), 0
        while z.norm() < 30 and steps < 4:
            z = z + torch.relu(self.body(z))
            steps += 1
        return self.out(z)


class Repeated(nn.Module):
    """A block that is called several times."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.first, self.out = way, layer(6), layer(8, 4)
        self.body = (
            Residual(nn.Sequential(nn.Tanh(), layer())) if way == "residual" else nn.Sequential(layer(), nn.Tanh())
        )

    def forward(self, x: Tensor) -> Tensor:
        """Three times the block."""
        z = self.first(x)
        for _ in range(3):
            z = self.body(z)
        return self.out(z)


class Ode(nn.Module):
    """Four steps of Runge-Kutta through one field."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.field, self.out = layer(6), nn.Sequential(layer(), nn.Tanh()), layer(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """The midpoint rule."""
        z = self.first(x)
        for _ in range(4):
            z = z + 0.25 * self.field(z + 0.125 * self.field(z))
        return self.out(z)


class Equilibrium(nn.Module):
    """A fixed point found without a graph, then one step with it (deep equilibrium)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.body, self.out = layer(6), layer(), layer(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """The equilibrium."""
        drive = self.first(x)
        with torch.no_grad():
            z = torch.zeros_like(drive)
            for _ in range(30):
                z = torch.tanh(0.5 * self.body(z) + drive)
        return self.out(torch.tanh(0.5 * self.body(z) + drive))


NETS: dict[str, Any] = {
    "early_exit": EarlyExit,
    "while_loop": WhileLoop,
    "block_called_three_times": lambda: Repeated("plain"),
    "residual_block_called_three_times": lambda: Repeated("residual"),
    "neural_ode": Ode,
    "deep_equilibrium": Equilibrium,
}
for _name, _make in NETS.items():
    loops.add(_name, lambda make=_make: vectors(make()))
