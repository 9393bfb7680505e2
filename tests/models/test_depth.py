"""Depth units of our families, of torchvision-like code and of what cannot be traced."""

import pytest
import torch
from torch import nn
from torchvision import models

import ammup
from ammup import InputError
from ammup.models.depth import CONVENTIONS, structure_of


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_depth_of_the_families_is_their_argument(depth: int) -> None:
    for net in (
        ammup.mlp(depth, width=4),
        ammup.cnn(depth, width=4),
        ammup.cnn(depth, width=4, kernel=[(0, 0), (1, 1)], head="field"),
        ammup.resnet(depth, width=4),
        ammup.resnet(depth, width=4, dims=0, branch=1),
        ammup.resnet(depth, width=4, branch=("conv", "conv", "dense"), batchnorm=True, dropout=0.5, projections=[1]),
    ):
        assert ammup.minimal_depth(net) == depth


def test_vgg_has_its_weight_layers_but_the_readout() -> None:
    with torch.device("meta"):
        model = models.vgg11()
    units = ammup.depth_units(model)  # 8 convolutions and 3 linear layers
    assert len(units) == 10
    assert units[0] == "features.0"
    assert units[-1] == "classifier.3"


# What each convention counts, readout and stem left out, and why:
#   vgg11: 8 convolutions and 2 of 3 linear layers; nothing residual.
#   resnet18: 8 blocks of two convolutions; the shortest path has the stem, 8 sums, and a projection in 3 of them.
#   resnet50, resnext, wide_resnet: 16 blocks of three; 4 projections, one of them in the first stage.
#   densenet121: concatenations are no sums, so every convolution is a unit; the shortest path skips dense layers and
#     has the stem and 3 transitions.
#   mobilenet_v2: 10 of 17 blocks have a sum; outside are 2 convolutions in the first, 3 in six others, and the last.
#   convnext_tiny: 18 blocks of three, and 3 downsampling convolutions between stages.
# "update-bearing" is "paper" with the stem, where there are residual blocks.
COUNTS = {
    "vgg11": {"paper": 10, "layers": 10, "relu": 10, "shortest": 10, "update-bearing": 10},
    "vgg16": {"paper": 15, "layers": 15, "relu": 15, "shortest": 15, "update-bearing": 15},
    "resnet18": {"paper": 8, "blocks": 8, "layers": 17, "relu": 17, "shortest": 12, "update-bearing": 9},
    "resnet34": {"paper": 16, "blocks": 16, "layers": 33, "relu": 33, "shortest": 20, "update-bearing": 17},
    "resnet50": {"paper": 16, "blocks": 16, "layers": 49, "relu": 49, "shortest": 21, "update-bearing": 17},
    "resnet101": {"paper": 33, "blocks": 33, "layers": 100, "relu": 100, "shortest": 38, "update-bearing": 34},
    "wide_resnet50_2": {"paper": 16, "blocks": 16, "layers": 49, "relu": 49, "shortest": 21, "update-bearing": 17},
    "resnext50_32x4d": {"paper": 16, "blocks": 16, "layers": 49, "relu": 49, "shortest": 21, "update-bearing": 17},
    "densenet121": {"paper": 120, "layers": 120, "relu": 121, "shortest": 4, "update-bearing": 120},
    "mobilenet_v2": {"paper": 31, "blocks": 10, "layers": 52, "relu": 35, "shortest": 32, "update-bearing": 32},
    "convnext_tiny": {"paper": 21, "blocks": 18, "layers": 58, "relu": 18, "shortest": 22, "update-bearing": 22},
}


@pytest.mark.parametrize("name", COUNTS)
def test_torchvision_traced(name: str) -> None:
    with torch.device("meta"):
        model = getattr(models, name)(weights=None)
    structure = structure_of(model)
    assert {c: n for c in CONVENTIONS if (n := len(structure.units(c)))} == COUNTS[name]


@pytest.mark.parametrize("name", ["vgg11", "resnet18", "resnext50_32x4d", "densenet121", "mobilenet_v2"])
def test_a_recorded_run_gives_the_units_of_the_trace(name: str) -> None:
    model = getattr(models, name)(weights=None)
    traced, recorded = structure_of(model), structure_of(model, torch.randn(2, 3, 64, 64))
    for convention in CONVENTIONS:
        assert recorded.units(convention) == traced.units(convention)
    assert [(o.name, o.role, o.weight) for o in recorded.layers] == [(o.name, o.role, o.weight) for o in traced.layers]
    assert recorded.path_sum() == traced.path_sum()


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        h = self.second(torch.tanh(self.first(torch.relu(z))))
        h += z
        return h


class _Sums(nn.Module):
    """Residual additions in all the ways they are written, one block shared."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.out = nn.Linear(4, 4), nn.Linear(4, 2)
        self.a, self.b, self.c, self.d, self.shared = (nn.Linear(4, 4) for _ in range(5))
        self.nested = nn.Sequential(nn.Sequential(_Block(4)), nn.ReLU(inplace=True), nn.Sequential(nn.Linear(4, 4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.stem(x)
        z = z + self.a(z.relu())
        z = torch.add(z, self.b(z.relu()))
        z += self.c(z.relu())
        z = z.add(self.d(z.relu()), alpha=0.5)
        for _ in range(2):
            z = self.shared(z.relu_())
        return self.out(self.nested(z + 1.0))


def test_additions_nested_and_shared_modules_and_in_place_activations() -> None:
    model = _Sums()
    expected = (":add", ":add_2", ":add_3", ":add_4", "shared", "shared@2", "nested.0.0", "nested.2.0")
    assert ammup.depth_units(model) == expected
    assert ammup.depth_units(model, torch.randn(3, 4)) == expected


class _Functional(nn.Module):
    """Weights that no module multiplies by."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(4, 4))
        self.second = nn.Parameter(torch.randn(4, 4))
        self.out = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.nn.functional.linear(x, self.first * 2)
        return self.out(torch.relu(z @ self.second.t()))


def test_functional_layers() -> None:
    model = _Functional()
    assert ammup.depth_units(model) == (":linear", ":matmul")
    assert ammup.depth_units(model, torch.randn(3, 4)) == (":linear", ":matmul")


class _Two(nn.Module):
    """Two inputs, a dict of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.out(torch.relu(self.a(x) + self.b(y)))}


def test_several_inputs_and_dict_outputs() -> None:
    inputs = (torch.randn(3, 4), torch.randn(3, 3))
    call = lambda model, xy: model(*xy)["logits"]  # noqa: E731
    assert ammup.depth_units(_Two(), inputs, forward=call) == ("a",)  # a and b are parallel


def test_recording_leaves_the_model_and_the_random_state_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU(), nn.Linear(4, 2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    state = torch.random.get_rng_state()
    assert ammup.depth_units(model, torch.randn(8, 4, generator=torch.Generator())) == ("0",)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks


class _Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x) if x.sum() > 0 else -self.a(x))


def test_what_cannot_be_traced_is_recorded() -> None:
    assert ammup.depth_units(_Untraceable(), torch.ones(2, 4)) == ("a",)


@pytest.mark.parametrize(
    ("model", "convention", "message"),
    [
        (_Untraceable(), "paper", "could not be traced.*give example_input=, or units="),
        (nn.ReLU(), "paper", "has no linear, convolutional or recurrent layer, so it has no depth"),
        (ammup.cnn(2, width=4), "blocks", "has no depth units in the convention 'blocks'"),
        (
            ammup.cnn(2, width=4),
            "trunk",
            "'trunk'; expected one of: paper, blocks, layers, relu, shortest",
        ),
    ],
)
def test_what_has_no_depth_units_is_refused(model: nn.Module, convention: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ammup.depth_units(model, convention=convention)
