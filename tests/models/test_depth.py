"""Depth units of our families, of torchvision-like code and of what cannot be traced."""

import pytest
import torch
from torch import nn
from torchvision.models import vgg11

import ammup
from ammup import InputError
from ammup.models.depth import trace_structure


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
    units = ammup.depth_units(vgg11())  # 8 convolutions and 3 linear layers
    assert len(units) == 10
    assert units[0] == "features.0"
    assert units[-1] == "classifier.3"


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        h = self.second(torch.tanh(self.first(torch.relu(z))))
        h += z
        return h


class _Odd(nn.Module):
    """A stem, a block by ``+=``, a block whose projection is the branch with fewer layers, a plain layer, a readout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.tail, self.out = nn.Linear(3, 8), _Block(8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.block(self.stem(x))
        return self.out(self.tail(torch.relu(z)).sigmoid() + 1.0)


def test_roles_of_the_weight_layers() -> None:
    structure = trace_structure(_Odd())
    assert structure.units == ("block", "tail")
    assert structure.n_blocks == 1
    assert [(layer.name, layer.role) for layer in structure.layers] == [
        ("stem", "plain"),
        ("block.first", "branch"),
        ("block.second", "last"),
        ("tail", "plain"),
        ("out", "readout"),
    ]
    assert [layer.activation for layer in structure.layers] == [
        None,
        torch.nn.functional.relu,
        torch.tanh,
        torch.nn.functional.relu,
        torch.sigmoid,
    ]


class _SumInTheMiddle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.a(x)
        return self.c(z + self.b(z.relu()))


class _Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) if x.sum() > 0 else -self.a(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_SumInTheMiddle(), "residual sum 'add' is not the output of any module"),
        (_Untraceable(), "could not be traced.*pass units="),
        (nn.ReLU(), "has no depth"),
    ],
)
def test_what_has_no_depth_units_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ammup.depth_units(model)


def test_unknown_convention() -> None:
    with pytest.raises(InputError, match="convention='layers' is not known; allowed: paper"):
        ammup.depth_units(ammup.mlp(2, width=4), convention="layers")
