"""`Step`, compared with the model itself, with autograd, with finite differences and with true steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ammup
from ammup import InputError
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import OUTPUT, Step


def _net() -> nn.Module:
    return ammup.cnn(3, width=4, activation="gelu", seed=1).double()


X = torch.randn((2, 3, 4, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([3, 7])
MSE = MeasurementSpec(inputs=X, targets=Y, loss="mse", label_draws=2)
DRAWN = MeasurementSpec(inputs=X, label_draws=2)


def _along(net: nn.Module, direction: dict[str, torch.Tensor], unit: str, size: float) -> torch.Tensor:
    """The unit's output at the weights plus ``size`` times a direction."""
    outputs = []
    moved = {name: p.detach() + size * direction.get(name, 0) for name, p in net.named_parameters()}
    handle = net.get_submodule(unit).register_forward_hook(lambda _m, _a, z: outputs.append(z.detach().clone()))
    with torch.no_grad():
        torch.func.functional_call(net, moved, (X,))
    handle.remove()
    return outputs[0]


def test_run_returns_the_outputs_of_the_model_at_any_weights() -> None:
    net = _net()
    step = Step.from_model(net, MSE)
    torch.testing.assert_close(step.run(step.weights), net(X).detach())
    doubled = {name: 2 * w for name, w in step.weights.items()}
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    torch.testing.assert_close(step.run(doubled), torch.func.functional_call(net, doubled, (X,)).detach())
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert set(step.weights) == set(before)
    assert step.frozen == {}


def test_gradient_equals_that_of_autograd() -> None:
    net = _net()
    step = Step.from_model(net, replace(MSE, loss="cross_entropy"))
    outputs, pull_back = step.backward(0)
    (gradient,) = pull_back(step.residuals(outputs, None).fixed[0])
    F.cross_entropy(net(X), Y).backward()
    torch.testing.assert_close(outputs, net(X).detach())
    for name, p in net.named_parameters():
        torch.testing.assert_close(gradient[name], p.grad)


def test_tangents_equal_central_differences() -> None:
    net = _net()
    step = Step.from_model(net, DRAWN)
    generator = torch.Generator().manual_seed(3)
    full = {n: torch.randn(w.shape, generator=generator, dtype=w.dtype) for n, w in step.weights.items()}
    one = {"layers.1.weight": full["layers.1.weight"]}
    for direction in (full, one):
        tangents = step.unit_tangents(direction)
        for unit, tangent in zip(step.units, tangents, strict=True):
            ahead, behind = (_along(net, direction, unit, size) for size in (1e-5, -1e-5))
            torch.testing.assert_close(tangent, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-8)
        if direction is full:
            *moments, _ = step.tangent_moments(step.weights, direction, 0)
            torch.testing.assert_close(torch.stack(moments), torch.stack([t.square().mean() for t in tangents]))
    assert not step.unit_tangents(one)[0].any()  # the first unit does not depend on the second layer


def test_units_shapes_and_pre_activations_equal_those_of_a_forward_pass() -> None:
    net = _net()
    step = Step.from_model(net, DRAWN)
    outputs = step.pre_activations(step.weights, 0)
    assert step.units == ammup.depth_units(net)
    for unit, z in zip(step.units, outputs, strict=True):
        torch.testing.assert_close(z, _along(net, {}, unit, 0.0))
    assert step.shapes() == {**{u: z.shape for u, z in zip(step.units, outputs, strict=True)}, OUTPUT: net(X).shape}


def test_labels_depend_only_on_the_stream_and_are_not_drawn_with_targets() -> None:
    step = Step.from_model(_net(), DRAWN)
    outputs = step.run(step.weights)
    torch.manual_seed(0)
    first = step.labels(outputs, (2, 5))
    torch.manual_seed(1)
    assert first.shape == (2, *outputs.shape)
    assert torch.equal(step.labels(outputs, (2, 5)), first)
    assert not torch.equal(step.labels(outputs, (5, 2)), first)
    assert Step.from_model(_net(), MSE).labels(outputs, 0) is None


def test_factors_and_optimizers_change_the_direction() -> None:
    gradient = {name: torch.ones_like(w) for name, w in Step.from_model(_net(), MSE).weights.items()}
    scaled = Step.from_model(_net(), replace(MSE, lr_factors={"layers.1.weight": 3.0})).direction(gradient)
    assert {name: float(g.mean()) for name, g in scaled.items()} == {
        name: 3.0 if name == "layers.1.weight" else 1.0 for name in gradient
    }
    decayed = Step.from_model(_net(), replace(MSE, optimizer=lambda p, lr: torch.optim.SGD(p, lr, weight_decay=0.5)))
    for name, moved in decayed.direction(gradient).items():
        torch.testing.assert_close(moved, gradient[name] + 0.5 * decayed.weights[name])
    with pytest.raises(InputError, match="part='label'"):
        MeasurementSpec(inputs=X, part="label", optimizer=torch.optim.SGD)


def test_gradient_and_both_forward_passes_use_the_same_dropout_mask() -> None:
    net = ammup.resnet(3, width=16, dims=0, in_channels=8, dropout=0.5).double()
    x, y = torch.randn(4, 8, dtype=torch.float64), torch.arange(4)
    step = ammup.check_finite_step(net, x, y, lr=1e-5, loss="cross_entropy")
    assert np.abs(step.gap).max() < 1e-3
    by_seed = [ammup.measure_updates(net, x, y, loss="cross_entropy", seed=s).S_bar for s in (0, 0, 1)]
    assert by_seed[0] == by_seed[1] != by_seed[2]
    assert ammup.measure_updates(net.eval(), x, y, loss="cross_entropy").S_bar != by_seed[0]


def test_in_place_activations_give_the_same_moments() -> None:
    x, y = torch.randn(3, 6, dtype=torch.float64), torch.arange(3)
    layers = [nn.Linear(6, 6) for _ in range(3)]
    nets = [
        nn.Sequential(layers[0], nn.ReLU(inplace), layers[1], nn.ReLU(inplace), layers[2]).double()
        for inplace in (False, True)
    ]
    S, in_place = (ammup.measure_updates(net, x, y, loss="cross_entropy").S for net in nets)
    np.testing.assert_allclose(S, in_place, rtol=1e-12)
    true, in_place = (ammup.check_finite_step(net, x, y, lr=0.1, loss="cross_entropy").true for net in nets)
    np.testing.assert_allclose(true, in_place, rtol=1e-12)


class _UserNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.second(self.first(x).relu()).relu())


class _TwoOutputs(_UserNet):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(x), x


def _bad(**changes):
    good = {"model": _UserNet(), "inputs": torch.ones(2, 4), "targets": None}
    return {**good, **changes}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (_bad(inputs=torch.full((2, 4), torch.nan)), "inputs.*NaN"),
        (_bad(inputs=torch.ones(2, 4, dtype=torch.uint8)), "uint8"),
        (_bad(inputs=torch.ones(4)), r"\(batch, …\)"),
        (_bad(inputs=torch.ones(0, 4)), r"\(0, 4\)"),
        (_bad(inputs=torch.ones(2, 5)), r"_UserNet.*\(2, 5\)"),
        (
            _bad(model=ammup.resnet(2, dims=0, width=4, in_channels=4, batchnorm=True), inputs=torch.ones(1, 4)),
            "ResNet.*more than 1 value per channel",
        ),
        (_bad(model=ammup.mlp(2, width=4, in_features=4), inputs=torch.ones(2, 5)), r"MLP.*\(2, 5\)"),
        (_bad(units=["first", "third"]), r"\['third'\]"),
        (_bad(units=[]), r"units=\[\]"),
        (_bad(units=["first", "first"]), r"units=\['first', 'first'\]"),
        (_bad(model=_TwoOutputs(), units=["first"]), "tuple.*forward="),
        (_bad(model=nn.Sequential(nn.ReLU())), "Sequential.*trainable weights"),
        (_bad(model=_UserNet().requires_grad_(False)), "_UserNet.*trainable weights"),
    ],
)
def test_invalid_models_and_inputs_are_rejected(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ammup.measure_updates(**arguments)
