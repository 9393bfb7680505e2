"""Operations of a forward and their names, by hand."""

import operator
from collections.abc import Callable

import pytest
import torch
from torch import nn

from ammup.models.layers import SupportConv
from ammup.models.operation import (
    ATTENTION,
    Names,
    Operation,
    function_name,
    function_operation,
    is_activation,
    weight_of_module,
)


@pytest.mark.parametrize(
    "target", [operator.add, operator.iadd, torch.add, torch.Tensor.add_, torch.Tensor.__radd__, "add", "add_"]
)
def test_all_ways_to_add_have_one_name(target: object) -> None:
    assert function_name(target) == "add"


@pytest.mark.parametrize("target", [torch.sub, torch.cat, torch.addmm])
def test_other_functions_have_their_own_name(target: Callable[..., object]) -> None:
    assert function_name(target) == target.__name__


@pytest.mark.parametrize(
    ("function", "sources", "adds"), [("add", (0, 1), True), ("add", (0,), False), ("cat", (0, 1), False)]
)
def test_a_sum_adds_two_computed_tensors(function: str, sources: tuple[int, ...], adds: bool) -> None:
    assert Operation(sources=sources, function=function).is_sum == adds


def test_calls_are_numbered_in_each_module_and_functions_in_each_call() -> None:
    names = Names()
    assert names.function("add") == ""  # outside of the model
    names.enter("")
    found = [names.function("add")]
    for path in ("block", "block", "tail"):
        names.enter(path)
        found += [names.function("add"), names.function("relu"), names.function("add"), names.leave()]
    found += [names.function("add"), names.leave()]
    assert found == [
        *(":add", "block:add", "block:relu", "block:add_2", "block"),
        *("block@2:add", "block@2:relu", "block@2:add_2", "block@2"),
        *("tail:add", "tail:relu", "tail:add_2", "tail", ":add_2", ""),
    ]


@pytest.mark.parametrize(
    ("function", "weight", "layer", "own"),
    [
        ("linear", "block.fc.weight", "block.fc", "block.fc.weight"),
        ("matmul", "weight", "weight", "weight"),  # a parameter of the root
        ("conv2d", "", None, ""),  # of two computed tensors
        ("add", "fc.bias", None, ""),  # no product
        (ATTENTION, "attention.in_proj_weight", "attention", ""),  # one of several weights
    ],
)
def test_a_product_with_a_weight_is_a_layer(function: str, weight: str, layer: str | None, own: str) -> None:
    operation = function_operation((0,), function, "name", weight)
    assert (operation.layer, operation.weight) == (layer, own)
    assert (operation.sources, operation.function, operation.name) == ((0,), function, "name")


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "silu"])
def test_activations_are_applied_as_torch_applies_them(name: str) -> None:
    x = torch.linspace(-2, 2, 9)
    activation = function_operation((0,), name, "", "").activation
    assert activation is not None
    assert torch.equal(activation(x), (getattr(nn.functional, name, None) or getattr(torch, name))(x))
    assert function_operation((0,), "dropout", "", "").activation is None


def test_layers_are_named_with_their_weight_and_attention_without() -> None:
    layers = [nn.Linear(2, 2), nn.Conv1d(2, 2, 1), SupportConv(2, 2, [(0,), (1,)])]
    assert [weight_of_module("a.b", module) for module in layers] == [("a.b", "a.b.weight")] * 3
    assert weight_of_module("a", nn.MultiheadAttention(4, 2)) == ("a", "")
    assert weight_of_module("a", nn.BatchNorm1d(2)) == (None, "")


def test_attention_is_no_activation_though_torch_defines_it_among_them() -> None:
    assert [is_activation(module) for module in (nn.ReLU(), nn.GELU(), nn.Softmax(1))] == [True] * 3
    assert [is_activation(module) for module in (nn.MultiheadAttention(4, 2), nn.Linear(2, 2))] == [False] * 2
