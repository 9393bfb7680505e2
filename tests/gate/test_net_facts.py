"""Facts about nets: equal weights of layers (shared, copied, tied, drawn from one seed), and residual blocks."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

import ammup
from ammup.gate.net_facts import NetFacts
from ammup.measurement.specification import MeasurementSpec

SPEC = MeasurementSpec(inputs=torch.ones(2, 4))


def _different(depth: int) -> nn.Module:
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(depth)), nn.LayerNorm(4), nn.LayerNorm(4))


def _shared(depth: int) -> nn.Module:
    return nn.Sequential(*[nn.Linear(4, 4)] * depth)


def _copied(depth: int) -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(*(copy.deepcopy(layer) for _ in range(depth)))


def _of_one_seed(depth: int) -> nn.Module:
    def layer() -> nn.Module:
        torch.manual_seed(0)
        return nn.Linear(4, 4)

    return nn.Sequential(*(layer() for _ in range(depth)))


def _tied(depth: int) -> nn.Module:
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(depth + 1)))
    net[-1].weight = net[0].weight
    return net


def _zero(depth: int) -> nn.Module:
    net = _different(depth)
    for layer in net[:depth]:
        nn.init.zeros_(layer.weight)
    return net


@pytest.mark.parametrize(
    ("factory", "copied"),
    [(_different, False), (_shared, True), (_copied, True), (_of_one_seed, True), (_tied, False), (_zero, False)],
)
def test_layers_are_copied_if_a_deeper_net_has_more_equal_weights(
    factory: Callable[[int], nn.Module], copied: bool
) -> None:
    assert NetFacts.from_factory(factory, (2, 5), SPEC).copied is copied


def test_only_nets_with_residual_blocks_are_residual() -> None:
    images = MeasurementSpec(inputs=torch.ones(2, 3, 4, 4))
    assert NetFacts.from_factory(partial(ammup.resnet, width=4), (2, 3), images).residual is True
    assert NetFacts.from_factory(partial(ammup.cnn, width=4), (2, 3), images).residual is False
    assert NetFacts.from_factory(_different, (2, 3), MeasurementSpec(inputs=torch.ones(2, 5))).residual is None
