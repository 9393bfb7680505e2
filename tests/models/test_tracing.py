"""Traced flows, against what the forwards say."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ammup import InputError
from ammup.models.depth import depth_units
from ammup.models.layers import SupportConv
from ammup.models.tracing import traced


class _Net(nn.Module):
    """A module, an activation module called twice, a product with what is made from a weight, a sum, a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Linear(3, 4), nn.ReLU()
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.first(x)
        h = self.act(z) @ (2 * self.weight).t()
        z = self.act(z + h)
        return z + 1.0


def test_a_flow_has_one_operation_for_each_computed_value() -> None:
    model = _Net()
    rows = [(o.name, o.function, o.sources, o.layer, o.weight, o.activation is not None) for o in traced(model)]
    assert rows == [
        ("x", "", (), None, "", False),
        ("first", "", (0,), "first", "first.weight", False),
        ("act", "", (1,), None, "", True),
        (":matmul", "matmul", (2,), "weight", "weight", False),
        (":add", "add", (1, 3), None, "", False),
        ("act@2", "", (4,), None, "", True),
        (":add_2", "add", (5,), None, "", False),
    ]
    flow = traced(model)
    assert [o.is_input for o in flow] == [True] + [False] * 6
    assert [o.is_sum for o in flow] == [False] * 4 + [True] + [False] * 2
    assert flow[2].activation is model.act


def test_sources_come_before_what_is_computed_from_them() -> None:
    for i, operation in enumerate(traced(_Net())):
        assert all(source < i for source in operation.sources)


def test_our_convolutions_are_one_operation() -> None:
    flow = traced(nn.Sequential(SupportConv(2, 2, [(0,), (3,)]), nn.Tanh()))
    assert [(o.name, o.layer) for o in flow] == [("input", None), ("0", "0"), ("1", None)]


class _Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_a_forward_that_depends_on_values_is_refused_with_what_to_give_instead() -> None:
    with pytest.raises(InputError, match=r"_Branching could not be traced by torch.fx \(.*\); give example_input="):
        traced(_Branching())


def _encoder(layers: int) -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), layers)


@pytest.mark.parametrize(
    "module",
    [
        _encoder(2),
        nn.TransformerEncoderLayer(8, 2, 16),
        nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
        nn.Sequential(nn.Linear(5, 8), _encoder(3), nn.Linear(8, 2)),
    ],
    ids=["encoder", "layer", "transformer", "inside a net"],
)
def test_modules_of_torch_with_layers_inside_are_never_one_operation(module: nn.Module) -> None:
    """These cannot be traced: their forward depends on values. One operation for all of their layers is wrong."""
    with pytest.raises(InputError, match=r"could not be traced.*give example_input="):
        traced(module)


class _Decoder(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True) for _ in range(layers))
        self.out = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        memory = x
        for layer in self.layers:
            x = layer(x, memory)
        y: torch.Tensor = self.out(x)
        return y


@pytest.mark.parametrize("layers", [1, 2])
def test_decoder_layers_are_traced_inside_as_they_run(layers: int) -> None:
    model = _Decoder(layers).eval()
    for convention in ("paper", "blocks", "layers"):
        units = depth_units(model, convention=convention)
        assert len(units) == len(depth_units(model, torch.ones(2, 3, 8), convention=convention))
    assert len(depth_units(model)) == 3 * layers  # self-attention, attention to the memory, feed-forward


@pytest.mark.parametrize(
    "module",
    [nn.MultiheadAttention(4, 2), spectral_norm(nn.Linear(4, 4)), nn.LSTM(4, 4, num_layers=2), nn.LSTMCell(4, 4)],
    ids=lambda module: type(module).__name__,
)
def test_weight_layers_with_modules_or_several_weights_inside_are_one_layer(module: nn.Module) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = module

        def forward(self, x: torch.Tensor) -> object:
            return self.layer(x, x, x) if isinstance(module, nn.MultiheadAttention) else self.layer(x)

    assert {operation.layer for operation in traced(Net()) if operation.layer} == {"layer"}
