"""Shapes of nets: shared trunks, several heads, skips, dense connections."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import Residual, called, dense, drawn, images, labels, vectors

topology = Group("topology")


def layer(a: int = 8, b: int = 8) -> nn.Linear:
    """A linear layer, 8 to 8 by default."""
    return nn.Linear(a, b)


class UNet(nn.Module):
    """Two levels with skips that are concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.merge, self.out = (
            nn.ConvTranspose2d(16, 8, 2, 2),
            nn.Conv2d(16, 8, 3, padding=1),
            nn.Conv2d(8, 4, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scores of every pixel."""
        a = torch.relu(self.down1(x))
        b = torch.relu(self.down2(F.max_pool2d(a, 2)))
        return self.out(torch.relu(self.merge(torch.cat([a, self.up(b)], 1))))


class Siamese(nn.Module):
    """One trunk for both inputs; the trunk runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.merge, self.out = nn.Sequential(layer(6), nn.ReLU(), layer()), layer(16), layer(8, 4)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        """Scores of a pair."""
        a, b = (self.trunk(x) for x in pair)
        return self.out(torch.relu(self.merge(torch.cat([a, b], 1))))


class TwoHeads(nn.Module):
    """A trunk and two heads, as in actor-critic."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(layer(6), nn.Tanh(), layer(), nn.Tanh())
        self.policy, self.value = layer(8, 4), nn.Sequential(layer(), nn.Tanh(), layer(8, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and a value."""
        z = self.trunk(x)
        return self.policy(z), self.value(z)


class DeepSupervision(nn.Module):
    """A loss at every depth, by averaged scores."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([layer(6), layer(), layer()])
        self.heads = nn.ModuleList([layer(8, 4) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        """The mean of three heads."""
        scores = []
        for body, head in zip(self.layers, self.heads, strict=True):
            x = torch.relu(body(x))
            scores.append(head(x))
        return torch.stack(scores).mean(0)


class DenselyConnected(nn.Module):
    """Every layer sees all the ones before."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.out = nn.ModuleList(layer(6 + 8 * i) for i in range(3)), layer(30, 4)

    def forward(self, x: Tensor) -> Tensor:
        """From concatenated features."""
        for body in self.layers:
            x = torch.cat([x, torch.relu(body(x))], 1)
        return self.out(x)


class Reversible(nn.Module):
    """A coupling layer of a flow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.f, self.g, self.out = layer(6), layer(4, 8), layer(4, 8), layer(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Two affine couplings."""
        a, b = self.first(x).chunk(2, 1)
        scale, shift = self.f(a).chunk(2, 1)
        b = b * torch.exp(torch.tanh(scale)) + shift
        scale, shift = self.g(b).chunk(2, 1)
        return self.out(torch.cat([a * torch.exp(torch.tanh(scale)) + shift, b], 1))


class Parallel(nn.Module):
    """Branches of different depth, concatenated (inception)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = layer(6), layer(8, 4)
        self.branches = nn.ModuleList([layer(8, 4), nn.Sequential(layer(), nn.ReLU(), layer(8, 4))])

    def forward(self, x: Tensor) -> Tensor:
        """Both branches."""
        z = torch.relu(self.first(x))
        return self.out(torch.relu(torch.cat([branch(z) for branch in self.branches], 1)))


class LearnedSkips(nn.Module):
    """Skips with trained scales (ReZero, layer scale)."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.first, self.layers, self.out = layer(6), nn.ModuleList(layer() for _ in range(3)), layer(8, 4)
        self.scales = nn.Parameter(torch.full((3,), value))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled branches."""
        z = self.first(x)
        for scale, body in zip(self.scales, self.layers, strict=True):
            z = z + scale * torch.relu(body(z))
        return self.out(z)


class Autoencoder(nn.Module):
    """An encoder whose transposed weights decode."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.narrow = layer(6), layer(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction."""
        code = torch.tanh(self.narrow(torch.tanh(self.encoder(x))))
        return torch.tanh(code @ self.narrow.weight) @ self.encoder.weight


NETS: dict[str, Any] = {
    "deep_supervision": DeepSupervision,
    "densely_connected": DenselyConnected,
    "reversible_coupling": Reversible,
    "parallel_branches": Parallel,
    "layer_scale": lambda: LearnedSkips(0.1),
    "scales_of_zero": lambda: LearnedSkips(0.0),
    "plain_residual_chain": lambda: dense(Residual(layer()), nn.ReLU(), Residual(nn.Sequential(nn.ReLU(), layer()))),
}
for _name, _make in NETS.items():
    topology.add(_name, lambda make=_make: vectors(make()))


@topology.case
def unet() -> Problem:
    return Problem(model=UNet(), inputs=drawn(2, 3, 8, 8), targets=torch.arange(128).reshape(2, 8, 8) % 4)


@topology.case
def siamese() -> Problem:
    return called(lambda model, pair: model(pair), Siamese(), (drawn(8, 6), drawn(8, 6).flip(0)))


@topology.case
def two_heads_one_used() -> Problem:
    return called(lambda model, x: model(x)[0], TwoHeads(), drawn(8, 6))


@topology.case
def two_heads_concatenated() -> Problem:
    return called(lambda model, x: torch.cat(model(x), 1), TwoHeads(), drawn(8, 6), labels())


@topology.case
def autoencoder_with_tied_weights() -> Problem:
    return vectors(Autoencoder(), "mse", drawn(8, 6))


@topology.case
def generator_through_a_discriminator() -> Problem:
    model = nn.ModuleDict(
        {"generator": dense(nn.ReLU()), "critic": nn.Sequential(layer(4), nn.ReLU(), layer(), nn.ReLU(), layer(8, 4))}
    )
    model["critic"].requires_grad_(False)
    return called(lambda nets, x: nets["critic"](nets["generator"](x)), model, drawn(8, 6))


@topology.case
def feature_pyramid() -> Problem:
    class Pyramid(nn.Module):
        """Two scales, merged from the top."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1)
            self.lateral, self.out = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            fine = torch.relu(self.a(x))
            coarse = torch.relu(self.b(fine))
            merged = self.lateral(fine) + F.interpolate(coarse, scale_factor=2.0)
            return self.out(merged.relu().mean((2, 3)))

    return images(Pyramid())
