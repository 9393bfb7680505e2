"""`wide_net` describes the nets that the families build and initialize."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from wide_nets import plain_net, residual_net

import ammup
from ammup import InputError
from ammup.models.factory import Factory, architecture_of
from ammup.models.layers import SupportConv
from ammup.theory.activations import activation_moments
from ammup.theory.wide_net import WideLayer, WideNet, wide_net

CONV_DENSE_CONV = ("conv", "dense", "conv")
SHAPES = {0: (), 1: (17,), 2: (13, 15)}  # longer than any kernel below, so that no tap wraps onto another


def _offsets(module: nn.Module) -> set[tuple[int, ...]]:
    """Where the layer reads: an impulse in the middle comes out at minus the offsets."""
    if isinstance(module, nn.Linear):
        return {()}
    axes = len(module.offsets[0]) if isinstance(module, SupportConv) else module.weight.ndim - 2
    middle = np.array(SHAPES[axes]) // 2
    groups = module.groups
    impulse = torch.zeros(1, module.weight.shape[1] * groups, *SHAPES[axes])
    impulse[(0, 0, *middle)] = 1.0
    with torch.no_grad():
        module.weight.fill_(1.0)
        response = module(impulse)[0, 0]
    return {tuple(int(i) for i in middle - place) for place in np.argwhere(response.numpy())}


def _assert_describes(layer: WideLayer, name: str, net: nn.Module, table: pd.DataFrame) -> None:
    """Fans from the shape of the weight, the variance from what the initialization says that it has drawn."""
    module = net.get_submodule(name)
    row = table.set_index("parameter").loc[f"{name}.weight"]
    assert len(set(layer.offsets)) == len(layer.offsets)
    assert layer.fan_in == module.weight.shape[1]
    assert layer.fan_out == module.weight.shape[0] // getattr(module, "groups", 1)
    assert layer.fan_in * len(layer.offsets) == row["fan_in"]
    assert layer.variance == pytest.approx(row["variance"], rel=1e-6)
    assert set(layer.offsets) == _offsets(module)


def _names(net: nn.Module, law: WideNet) -> list[str]:
    """Of the weight layers: the stem, the blocks' and the readout."""
    pooled = isinstance(net.readout, nn.Sequential)
    if law.residual:
        inner = [f"blocks.{k}.branch.{j}" for k, block in enumerate(law.blocks) for j in range(len(block))]
        return ["stem", *inner, "readout.1" if pooled else "readout"]
    return [*(f"layers.{k}" for k in range(len(law.blocks) + 1)), "readout.1" if pooled else "readout"]


def _assert_law_is_of(build: Factory, depth: int, **rules: object) -> WideNet:
    """The layers that the law has, compared with those of the module."""
    net, law = build(depth), wide_net(architecture_of(build, depth))
    table = ammup.initialize_(net, seed=0, **rules)
    layers = [law.stem, *(layer for block in law.blocks for layer in block)]
    names = _names(net, law)
    assert sorted(f"{name}.weight" for name in names) == sorted(table["parameter"])
    for layer, name in zip(layers, names[:-1], strict=True):
        _assert_describes(layer, name, net, table)
    readout = net.get_submodule(names[-1])
    assert (law.readout.fan_out, law.readout.fan_in) == tuple(readout.weight.shape[:2])
    assert law.readout.variance == pytest.approx(table.set_index("parameter")["variance"][f"{names[-1]}.weight"])
    assert law.readout.offsets == ((0,) * law.axes,)
    assert len(law.blocks) + (not law.residual) == len(ammup.depth_units(net))
    return law


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": 8},
        {"width": [8, 4, 6], "in_features": 5, "out_features": 3},
        {"width": 8, "readout": "he", "activation": "gelu"},
        {"width": 8, "activation": "linear"},
    ],
)
def test_law_of_an_mlp_is_of_the_net_that_was_built(arguments: dict) -> None:
    law = _assert_law_is_of(partial(ammup.mlp, **arguments), 3, readout=arguments.get("readout", "mean-field"))
    assert law.activation == arguments.get("activation", "relu")
    assert not law.residual


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": 8},
        {"width": [8, 4, 12], "in_channels": 2, "out_channels": 5, "readout": "he"},
        {"width": 8, "groups": 4, "kernel": (1, 3)},
        {"width": [8, 4, 12], "groups": 2, "activation": "gelu"},
        {"width": 8, "kernel": 3, "dilation": 2, "padding": "zero", "head": "field"},
        {"width": 8, "kernel": 4, "dims": 1},
        {"width": 8, "kernel": [(0, 0), (1, 2), (-2, 0)], "padding": "zero", "groups": 2, "head": "field"},
        {"width": 8, "kernel": [2, 5], "dims": 1, "readout": "he", "head": "field"},
        {"width": 8, "kernel": 3, "dims": 1, "dilation": 3, "activation": "linear"},
        {"width": 8, "kernel": 1},
    ],
)
def test_law_of_a_cnn_is_of_the_net_that_was_built(arguments: dict) -> None:
    law = _assert_law_is_of(partial(ammup.cnn, **arguments), 3, readout=arguments.get("readout", "mean-field"))
    for name in ("padding", "head", "activation"):
        assert getattr(law, name) == arguments.get(name, {"padding": "circular", "head": "pool"}.get(name, "relu"))
    assert law.axes == arguments.get("dims", 2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": 8},
        {"width": 8, "dims": 0, "in_channels": 12, "branch": 1, "readout": "he"},
        {"width": 8, "dims": 0, "branch": 3, "c": 0.5, "scaled": "last", "activation": "gelu"},
        {"width": 8, "branch": CONV_DENSE_CONV, "scaled": "last", "groups": 2, "readout": "he", "c": 1.0},
        {"width": 8, "branch": CONV_DENSE_CONV, "scaled": "all", "groups": 4, "kernel": (3, 1), "activation": "gelu"},
        {"width": 8, "dims": 1, "kernel": [0, 3], "branch": 2, "padding": "zero", "head": "field", "groups": 2},
        {"width": 8, "dims": 1, "kernel": 3, "dilation": 2, "branch": ("dense", "conv"), "out_channels": 4},
        {"width": 8, "kernel": 2, "branch": 1, "activation": "linear", "scaled": "last"},
    ],
)
@pytest.mark.parametrize("depth", [1, 3])
def test_law_of_a_resnet_is_of_the_net_that_was_built(depth: int, arguments: dict) -> None:
    rules = {"readout": "mean-field", "c": 2.0, "scaled": "all"}
    given = {name: arguments.get(name, rule) for name, rule in rules.items()}
    law = _assert_law_is_of(partial(ammup.resnet, **arguments), depth, **given)
    assert law.residual
    for name, default in {"padding": "circular", "head": "pool", "activation": "relu"}.items():
        assert getattr(law, name) == arguments.get(name, default)
    assert law.axes == arguments.get("dims", 2)


@pytest.mark.parametrize(
    "arguments",
    [{"batchnorm": True}, {"dropout": 0.1}, {"projections": [1]}, {"batchnorm": True, "dims": 0, "in_channels": 6}],
)
def test_nets_beyond_the_law_have_none(arguments: dict) -> None:
    described = architecture_of(partial(ammup.resnet, width=8, **arguments), 2)
    assert not described.has_law
    with pytest.raises(InputError, match="no finite-depth law is derived"):
        wide_net(described)


def test_variances_by_hand() -> None:
    net = plain_net([8, 6, 4], in_features=3, out_features=5, offsets=((0,), (2,)), groups=2)
    layers = [net.stem, *(layer for (layer,) in net.blocks), net.readout]
    assert [layer.variance for layer in layers] == pytest.approx([1 / 6, 2 / (2 * 4), 2 / (2 * 3), 2 / 4])
    assert [(layer.fan_in, layer.fan_out) for layer in layers] == [(3, 8), (4, 3), (3, 2), (4, 5)]
    assert [layer.offsets for layer in layers] == [((0,), (2,))] * 3 + [((0,),)]


def test_the_last_branch_layer_alone_is_scaled_by_the_number_of_blocks() -> None:
    sizes = {"width": 8, "in_features": 4, "out_features": 2, "branch": ["dense"] * 3, "c": 0.5}
    every, last = (residual_net(5, **sizes, scaled=scaled).blocks[0] for scaled in ("all", "last"))
    assert [layer.variance for layer in every] == pytest.approx([0.1 / 8] * 3)
    assert [layer.variance for layer in last] == pytest.approx([2 / 8, 2 / 8, 0.1 / 8])


# Of tanh, whose E φ² and E φ'² differ.
@pytest.mark.parametrize(("gain", "moment"), [("forward", "second"), ("derivative", "derivative_second")])
def test_gain_rules_set_the_variances_of_a_plain_net(gain: str, moment: str) -> None:
    tanh = (np.tanh, lambda z: 1 - np.tanh(z) ** 2)
    net = plain_net([8, 8], in_features=4, out_features=2, activation=tanh, gain=gain)
    factor = 1 / getattr(activation_moments(tanh), moment)
    assert net.blocks[0][0].variance == pytest.approx(factor / 8)
    assert net.readout.variance == pytest.approx(factor / 8)
    assert net.stem.variance == pytest.approx(1 / 4)  # no activation before it


def test_the_readout_has_one_tap_at_the_position_itself() -> None:
    mean_field = residual_net(1, width=8, in_features=3, out_features=2, stem=((-1, 0), (3, 2)), readout="mean-field")
    assert mean_field.readout.offsets == ((0, 0),)
    assert mean_field.readout.variance == pytest.approx(1 / 64)
