"""Regularizers and gates: dropout of all kinds, stochastic depth, Gumbel softmax, squeeze-excite, experts."""

from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_parts.case import Group
from zoo_parts.constructs.common import Residual, convolutional, dense, images, vectors

regularizers = Group("dropout and noise")
gates = Group("gates and experts")


class StochasticDepth(nn.Module):
    """A residual branch that is skipped for some samples, or for all by Python's control flow."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.branch = kind, nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """X + mask · branch(x)."""
        if self.kind == "batch":
            return x + 2 * self.branch(x) if torch.rand(()) < 0.5 else x + 0.1 * self.branch(x)
        if self.kind == "torchvision":
            return x + torchvision.ops.stochastic_depth(self.branch(x), 0.4, "row", self.training)
        return x + self.branch(x) * (torch.rand(len(x), 1) < 0.6).to(x)


class GaussianNoise(nn.Module):
    """Additive noise, or the reparametrization of a variational layer."""

    def __init__(self, *, variational: bool) -> None:
        super().__init__()
        self.variational, self.moments = variational, nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        """A sample."""
        if not self.variational:
            return x + 0.1 * torch.randn_like(x)
        mean, log_variance = self.moments(x).chunk(2, 1)
        return mean + (log_variance / 2).exp() * torch.randn_like(mean)


class DropConnect(nn.Linear):
    """Dropout of the weight."""

    def forward(self, x: Tensor) -> Tensor:
        """With a masked weight."""
        return F.linear(x, F.dropout(self.weight, 0.3, self.training), self.bias)


class Bayesian(nn.Module):
    """A weight that is sampled in every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.spread = nn.Parameter(torch.randn(8, 8) / 3), nn.Parameter(torch.full((8, 8), -2.0))

    def forward(self, x: Tensor) -> Tensor:
        """The product with a sample."""
        return x @ (self.mean + F.softplus(self.spread) * torch.randn(8, 8))


def _mixup(x: Tensor) -> Tensor:
    share = torch.rand(()) * 0.5
    return (1 - share) * x + share * x[torch.randperm(len(x))]


def _manifold_dropout(x: Tensor) -> Tensor:
    keep = torch.empty_like(x).bernoulli_(0.7)
    return x * keep / 0.7


def _cutout(x: Tensor) -> Tensor:
    row = int(torch.randint(0, 5, ()))
    mask = torch.ones_like(x)
    mask[:, :, row : row + 3, row : row + 3] = 0
    return x * mask


def _fractional_pooling(x: Tensor) -> Tensor:
    return F.fractional_max_pool2d(x, 2, output_size=6, _random_samples=torch.rand(len(x), 8, 2).to(x))


DENSE: dict[str, Any] = {
    "dropout": lambda: nn.Dropout(0.3),
    "dropout_in_place": lambda: nn.Dropout(0.3, inplace=True),
    "alpha_dropout": lambda: nn.Sequential(nn.SELU(), nn.AlphaDropout(0.2)),
    "feature_alpha_dropout": lambda: nn.FeatureAlphaDropout(0.2),
    "randomized_leaky_relu": nn.RReLU,
    "stochastic_depth_of_rows": lambda: StochasticDepth("rows"),
    "stochastic_depth_of_the_batch": lambda: StochasticDepth("batch"),
    "stochastic_depth_of_torchvision": lambda: StochasticDepth("torchvision"),
    "gaussian_noise": lambda: GaussianNoise(variational=False),
    "variational_layer": lambda: GaussianNoise(variational=True),
    "drop_connect": lambda: DropConnect(8, 8),
    "sampled_weights": Bayesian,
    "mixup_inside": lambda: _mixup,
    "dropout_by_bernoulli": lambda: _manifold_dropout,
    "gumbel_softmax": lambda: lambda x: 8 * F.gumbel_softmax(x, tau=1.0),
    "gumbel_softmax_hard": lambda: lambda x: x + F.gumbel_softmax(x, hard=True),
    "distribution_sample": lambda: lambda x: torch.distributions.Normal(x, 0.1).rsample(),
}
CONVOLUTIONAL: dict[str, Any] = {
    "channel_dropout": lambda: nn.Dropout2d(0.3),
    "cutout_inside": lambda: _cutout,
    "drop_block": lambda: torchvision.ops.DropBlock2d(0.3, 3),
    "fractional_max_pooling": lambda: _fractional_pooling,
}
for _name, _make in DENSE.items():
    regularizers.add(_name, lambda make=_make: vectors(dense(make(), nn.Linear(8, 8), nn.ReLU()).train()))
for _name, _make in CONVOLUTIONAL.items():
    regularizers.add(_name, lambda make=_make: images(convolutional(nn.ReLU(), make()).train()))
regularizers.add("dropout_in_evaluation", lambda: vectors(dense(nn.Dropout(0.5), nn.ReLU()).eval()))


class SqueezeExcite(nn.Module):
    """Channel gates from global averages."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The gated input."""
        return x * torch.sigmoid(self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class Experts(nn.Module):
    """A mixture of experts.

    Args:
        routing: "soft", "top 1" by gathering the samples of each expert, or "top 2" by a loop over experts.
    """

    def __init__(self, routing: str) -> None:
        super().__init__()
        self.routing, self.router = routing, nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """X + the weighted outputs of the chosen experts."""
        weights = self.router(x).softmax(1)
        if self.routing == "soft":
            return x + torch.stack([expert(x) for expert in self.experts], 1).mul(weights[..., None]).sum(1)
        top, chosen = weights.topk(1 if self.routing == "top 1" else 2, dim=1)
        mixed = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows, slots = (chosen == i).nonzero(as_tuple=True)
            if len(rows):
                mixed.index_add_(0, rows, top[rows, slots, None] * expert(x[rows]))
        return x + mixed


class Highway(nn.Module):
    """A highway layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.gate = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """Between the input and the layer."""
        gate = torch.sigmoid(self.gate(x))
        return gate * torch.relu(self.body(x)) + (1 - gate) * x


class Modulated(nn.Module):
    """Feature-wise modulation by the input itself (FiLM)."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        """Scaled and shifted."""
        scale, shift = self.code(x).chunk(2, 1)
        return x * (1 + scale) + shift


for _routing in ("soft", "top 1", "top 2"):
    name = f"experts_{_routing.replace(' ', '_')}"
    gates.add(name, lambda routing=_routing: vectors(dense(nn.ReLU(), Experts(routing))))
gates.add("squeeze_excite", lambda: images(convolutional(nn.ReLU(), SqueezeExcite())))
gates.add("squeeze_excite_in_residual", lambda: images(
    convolutional(Residual(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), SqueezeExcite())), nn.ReLU())))  # fmt: skip
gates.add("highway", lambda: vectors(dense(Highway(), Highway())))
gates.add("feature_modulation", lambda: vectors(dense(nn.ReLU(), Modulated())))
gates.add("gated_linear_unit", lambda: vectors(dense(nn.Linear(8, 16), nn.GLU(1))))
gates.add("maxout", lambda: vectors(dense(nn.Linear(8, 16), lambda x: x.view(-1, 8, 2).amax(2))))
