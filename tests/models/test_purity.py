"""Which models are pure functions, and which weights their forwards do not change."""

import pytest
import torch
from torch import nn

from ammup.models.purity import constant_weights, reason_against_purity
from ammup.models.state import ModelState, preserved


class Own(nn.Linear):
    """A module of the user."""


def test_modules_of_torch_are_pure_and_those_of_the_user_are_not() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.ReLU(), nn.Linear(2, 2)))
    assert reason_against_purity(net) == ""
    net[2][1] = Own(2, 2)
    assert "module '2.1'" in reason_against_purity(net)
    assert reason_against_purity(Own(2, 2)).startswith("the model is a")


def test_hooks_and_replaced_forwards_are_code_of_the_user() -> None:
    hooked, replaced = nn.Linear(2, 2), nn.Linear(2, 2)
    hooked.register_forward_pre_hook(lambda *_: None)
    replaced.forward = lambda x: x
    assert "hooks" in reason_against_purity(nn.Sequential(hooked))
    assert "replaced forward" in reason_against_purity(nn.Sequential(replaced))
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert "all modules" in reason_against_purity(nn.Linear(2, 2))
    finally:
        handle.remove()


def test_weights_that_share_elements_are_not_pure() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(net.parameters()), net.parameters())
    assert reason_against_purity(net) == ""  # parts of one vector, but no common elements
    assert constant_weights(net) == []  # because the vector could be changed through another weight
    net[0].bias = net[1].bias  # one object under two names
    assert reason_against_purity(net) == ""
    net[1].bias.data = net[0].weight.data[1]
    assert reason_against_purity(net) == "'0.weight' and '0.bias' share memory"
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    net[1].running_mean.data = net[0].bias.data
    assert reason_against_purity(net) == "'0.bias' and '1.running_mean' share memory"


def test_weights_with_a_maximal_norm_are_not_constant() -> None:
    net = nn.Sequential(nn.Embedding(3, 4, max_norm=1.0), nn.Linear(4, 2))
    assert [id(p) for p in constant_weights(net)] == [id(p) for p in net[1].parameters()]
    assert constant_weights(nn.Sequential(Own(2, 2))) == []
    net[1].weight = nn.Parameter(net[0].weight.data[:2])  # registered under another name, but not the same object
    before = net[0].weight.detach().clone()
    with preserved(net, ModelState(net, constant=constant_weights(net))):
        net(torch.tensor([0, 1, 2]))
        assert not torch.equal(net[0].weight, before)
    assert torch.equal(net[0].weight, before)


@pytest.mark.parametrize("constant", [False, True])
def test_constant_weights_are_not_copied_but_otherwise_restored(constant: bool) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    weight, bias, mean = net[0].weight, net[0].bias.detach().clone(), net[1].running_mean.clone()
    with preserved(net, ModelState(net, constant=constant_weights(net) if constant else ())):
        net(torch.randn(4, 2)).sum().backward()
        weight.requires_grad_(False)
        net[0].weight = nn.Parameter(torch.zeros(2, 2))
        net[0].bias.data.add_(1)  # which no module of torch does
    assert net[0].weight is weight
    assert (weight.requires_grad, weight.grad) == (True, None)
    assert torch.equal(net[1].running_mean, mean)
    assert torch.equal(net[0].bias, bias) is not constant
