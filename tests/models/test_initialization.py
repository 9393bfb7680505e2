"""Variance rules against what is drawn, activation constants against closed forms and sampling."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ammup
from ammup import InputError
from ammup.models.initialization import activation_moments
from ammup.theory.activations import activation_moments as named_moments


@pytest.mark.parametrize(("name", "function"), [("relu", torch.relu), ("gelu", F.gelu), ("linear", nn.Identity())])
def test_torch_and_numpy_activations_have_the_same_moments(name: str, function) -> None:
    torch_side, numpy_side = activation_moments(function), named_moments(name)
    for field in ("second", "derivative_second", "derivative_fourth"):
        assert getattr(torch_side, field) == pytest.approx(getattr(numpy_side, field), rel=1e-12)


@pytest.mark.parametrize("function", [torch.tanh, F.silu, F.hardswish, nn.LeakyReLU(0.2), F.elu])
def test_moments_of_any_activation_agree_with_sampling(function) -> None:
    z = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    phi = function(z)
    (slope,) = torch.autograd.grad(phi.sum(), z)
    moments = activation_moments(function)
    # 10⁶ samples: standard errors below 0.2 % of the moment.
    assert moments.second == pytest.approx(float(phi.detach().square().mean()), rel=0.01)
    assert moments.derivative_second == pytest.approx(float(slope.square().mean()), rel=0.01)


def test_moments_are_computed_once() -> None:
    activation_moments(torch.tanh)
    before = activation_moments.cache_info().hits
    activation_moments(torch.tanh)
    assert activation_moments.cache_info().hits == before + 1


def test_drawn_weights_have_the_variance_of_the_table() -> None:
    net = ammup.resnet(4, width=48, kernel=[(0, 0), (0, 1), (1, 0)], branch=("conv", "conv", "dense"), groups=2)
    for scaled in ("all", "last"):
        table = ammup.initialize_(net, c=1.5, scaled=scaled, readout="he", gain="paper", seed=1)
        parameters = dict(net.named_parameters())
        assert set(table["parameter"]) == set(parameters)
        for row in table.itertuples():
            weight = parameters[row.parameter].detach().double()
            assert row.fan_in == weight[0].numel()
            ratio = float(weight.square().mean()) / row.variance
            assert abs(ratio - 1) < 5 * np.sqrt(2 / weight.numel())


def test_rules_by_role() -> None:
    net = ammup.resnet(4, width=16, branch=2, projections=[2], activation="gelu")
    gelu = 1 / named_moments("gelu").second

    def variance(table, name: str) -> float:
        row = table.set_index("parameter").loc[name]
        return float(row["variance"] * row["fan_in"])

    table = ammup.initialize_(net, c=1.5, scaled="last", readout="mean-field", seed=0)
    assert variance(table, "stem.weight") == pytest.approx(1)
    assert variance(table, "blocks.0.branch.0.weight") == pytest.approx(gelu)
    assert variance(table, "blocks.0.branch.1.weight") == pytest.approx(1.5 / 4)
    assert variance(table, "blocks.1.skip.weight") == pytest.approx(1)
    assert variance(table, "readout.1.weight") == pytest.approx(1 / 32)
    table = ammup.initialize_(net, c=1.5, scaled="all", readout="he", gain="derivative", seed=0)
    assert variance(table, "blocks.0.branch.0.weight") == pytest.approx(1.5 / 4)
    assert variance(table, "readout.1.weight") == pytest.approx(1 / named_moments("gelu").derivative_second)


def test_he_initialization_keeps_the_second_moment_of_a_user_model() -> None:
    """n = 20 nets, width 256, 10 layers: the log of the power has a standard deviation of √(5·10/256)/√20 = 0.10."""
    powers = []
    for seed in range(20):
        layers = [module for _ in range(10) for module in (nn.Linear(256, 256), nn.ReLU())]
        net = nn.Sequential(*layers, nn.Linear(256, 4))
        ammup.initialize_(net, seed=seed)
        powers.append(float(net[:-2](torch.ones(1, 256)).detach().square().mean()))
    assert abs(np.log(np.mean(powers))) < 0.4


def test_idempotent_in_place_and_independent_of_dtype() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    weight = net[0].weight
    ammup.initialize_(net, seed=3)
    first = weight.detach().clone()
    ammup.initialize_(net, seed=3)
    assert net[0].weight is weight
    assert torch.equal(weight, first)
    assert float(net[0].bias.detach().abs().sum()) == 0
    net.double()
    ammup.initialize_(net, seed=3)
    torch.testing.assert_close(net[0].weight.float(), first)


def test_without_a_seed_the_global_generator_decides() -> None:
    net = nn.Sequential(nn.Linear(8, 8))
    torch.manual_seed(1)
    ammup.initialize_(net)
    first = net[0].weight.detach().clone()
    ammup.initialize_(net)
    assert not torch.equal(net[0].weight, first)
    torch.manual_seed(1)
    ammup.initialize_(net)
    assert torch.equal(net[0].weight, first)


class _Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.out = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.stem(x)
        return self.out(z + self.block(z.relu()) if x.sum() > 0 else z)


def test_structure_can_be_passed_in() -> None:
    net = _Untraceable()
    with pytest.raises(InputError, match="blocks= and activation="):
        ammup.initialize_(net)
    table = ammup.initialize_(net, blocks=["block"], activation=torch.relu, c=0.5, scaled="last", seed=0)
    assert table["variance"].tolist() == pytest.approx([1 / 4, 2 / 4, 0.5 / 4, 1 / 16])
    with pytest.raises(InputError, match="'blok'"):
        ammup.initialize_(net, blocks=["blok"], activation=torch.relu)
    with pytest.raises(InputError, match="must be passed together"):
        ammup.initialize_(net, blocks=["block"])


def test_table_prints_one_row_a_weight() -> None:
    text = str(ammup.initialize_(ammup.mlp(2, width=4), seed=0))
    assert "layers.1.weight" in text
    assert "2/fan_in" in text
