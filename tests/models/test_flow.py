"""Recorded flows against traced ones, and observed values against the forward written out."""

from typing import Any

import pytest
import torch
from torch import nn

from ammup.models.depth import depth_units
from ammup.models.flow import observed, recorded
from ammup.models.tracing import traced


class _Net(nn.Module):
    """Modules, functions, a shared layer, in-place additions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.stem(x)
        for _ in range(2):
            h = self.shared(torch.relu(z))
            h += z
            z = h
        return self.out(z.tanh())


X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def _hooks(model: nn.Module) -> list[int]:
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_a_recorded_flow_is_the_traced_one() -> None:
    model = _Net()
    rows = [
        [(o.sources, o.name, o.layer, o.weight, o.activation, o.is_sum) for o in flow if not o.is_input]
        for flow in (recorded(model, [X], lambda: model(X)), traced(model))
    ]
    assert rows[0] == rows[1]
    assert _hooks(model) == [0] * 4


class _Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class _Custom(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Cube.apply(x)


def test_a_module_that_computes_where_no_function_is_seen_depends_on_its_arguments() -> None:
    model = nn.Sequential(nn.Linear(3, 3), _Custom(), nn.Linear(3, 1))
    flow = recorded(model, [X], lambda: model(X))
    names = [operation.name for operation in flow]
    custom = names.index("1")
    assert flow[custom].sources == (names.index("0"),)
    assert flow[names.index("2")].sources == (custom,)


def test_each_part_of_a_split_is_a_value_that_depends_on_the_function() -> None:
    class Split(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            one, _, other = x.chunk(3, dim=1)
            return one + other

    model = Split()
    flow = recorded(model, [X], lambda: model(X))
    assert [(o.sources, o.function) for o in flow] == [
        *(((), ""), ((0,), "chunk"), ((1,), "part"), ((1,), "part"), ((1,), "part")),
        ((2, 4), "add"),
    ]


def _values(model: _Net) -> dict[str, torch.Tensor]:
    """The forward, step by step."""
    stem = model.stem(X)
    first = model.shared(stem.relu())
    sum_1 = first + stem
    second = model.shared(sum_1.relu())
    sum_2 = second + sum_1
    return {"stem": stem, "shared@2": second, ":add": sum_1, ":add_2": sum_2, ":tanh": sum_2.tanh()}


@pytest.mark.parametrize("names", [["stem", "out"], ["stem", ":add", "shared@2", ":add_2", ":tanh"]])
def test_observed_values_are_those_that_the_forward_computes(names: list[str]) -> None:
    model = _Net()
    found: dict[str, torch.Tensor] = {}
    with observed(model, names, lambda name, value: found.update({name: value.clone()})):
        output = model(X)
    assert list(found) == names  # in the order of computation
    assert torch.equal(output, model(X))
    expected = {**_values(model), "out": output}
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize("name", ["stem", ":add"])
def test_what_record_returns_does_not_replace_the_value(name: str) -> None:
    model = _Net()
    expected = model(X)
    with observed(model, [name], lambda _, value: torch.zeros_like(value)):
        assert torch.equal(model(X), expected)


@pytest.mark.parametrize("observed_name", ["stem", ":add"])
def test_hooks_are_removed_after_an_exception(observed_name: str) -> None:
    model = _Net()
    with pytest.raises(RuntimeError, match="shapes"), observed(model, [observed_name], lambda *_: None):
        model(X[:, :2])
    assert _hooks(model) == [0] * 4
    calls = []
    with observed(model, [observed_name], lambda name, _: calls.append(name)):
        model(X)
    assert calls[0] == observed_name


@pytest.mark.parametrize("bidirectional", [False, True])
def test_lower_recurrent_layers_are_observed_by_their_last_state(bidirectional: bool) -> None:
    rnn = nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=bidirectional)
    first = nn.LSTM(3, 4, batch_first=True, bidirectional=bidirectional)
    first.load_state_dict({name: rnn.state_dict()[name] for name in first.state_dict()})
    found: dict[str, Any] = {}
    model = nn.Sequential(rnn)
    with observed(model, ["0:layer_1", "0"], lambda name, value: found.update({name: value})):
        output = model(X[:, None])
    assert torch.equal(found["0"][0], output[0])
    torch.testing.assert_close(found["0:layer_1"].transpose(0, 1), first(X[:, None])[1][0])


def test_outputs_are_those_of_the_forward_or_of_the_model() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"a": x.relu(), "b": x.tanh()}

    model = Two()
    positions = [
        [operation.output for operation in recorded(model, [X], run)]
        for run in (lambda: model(X), lambda: model(X)["b"], lambda: model(X)["b"] + 1, lambda: model(X)["b"].tolist())
    ]
    # An operation after the model is recorded, too. Without any tensor, the outputs are those of the model.
    assert positions == [[None, 0, 1], [None, None, 0], [None, None, None, 0], [None, 0, 1, None]]


def test_operations_before_the_model_connect_it_to_the_inputs() -> None:
    model = nn.Linear(4, 3)
    pixels = torch.randint(256, (2, 4), dtype=torch.uint8)
    assert depth_units(nn.Sequential(model, nn.ReLU(), nn.Linear(3, 2)), pixels, forward=_scaled) == ("0",)


def _scaled(model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    return model(pixels.to(torch.float32) / 255)
