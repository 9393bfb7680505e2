"""The method "difference", compared with closed forms and with forward-mode differentiation."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ammup
from ammup import InputError
from ammup.measurement.difference import (
    RELATIVE_STEPS,
    SMALL_CURVATURE,
    Difference,
    central_difference,
    largest_change,
    trainable,
)
from ammup.measurement.specification import MeasurementSpec

X = torch.randn((5, 3), generator=torch.Generator().manual_seed(0))
Y = torch.randn((5, 2), generator=torch.Generator().manual_seed(1))
CLASSES = torch.tensor([0, 1, 1, 0, 1])


def _linear() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))


def test_two_linear_layers_have_the_closed_form() -> None:
    net = _linear()
    a, b = (p.detach().double() for p in net.parameters())
    residual = (X.double() @ a.T @ b.T - Y) / Y.numel()
    gradient_a, gradient_b = (residual @ b).T @ X.double(), residual.T @ (X.double() @ a.T)
    change = X.double() @ gradient_a.T
    expected = [change.square().mean(), (change @ b.T + X.double() @ a.T @ gradient_b.T).square().mean()]
    moments = ammup.measure_updates(net, X, Y, loss="mse", units=["0", "1"], method="difference")
    np.testing.assert_allclose(moments.S, [float(s) for s in expected], rtol=1e-8)
    assert moments.method == "difference"
    assert moments.error < SMALL_CURVATURE
    squares = [float(gradient_a.square().sum()), float(gradient_b.square().sum())]
    np.testing.assert_allclose(list(moments.gradient_squares.values()), squares, rtol=1e-9)


NETS = {
    "mlp": lambda: ammup.mlp(3, width=8, in_features=12),
    "cnn": lambda: ammup.cnn(3, width=8),
    "resnet": lambda: ammup.resnet(2, width=8, batchnorm=True),
}


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("part", ["total", "label", "output"])
@pytest.mark.parametrize("name", NETS)
def test_difference_equals_jvp_in_float64(name: str, part: str, loss: str) -> None:
    net = NETS[name]().double()
    inputs = torch.randn((3, 3, 2, 2), generator=torch.Generator().manual_seed(0))
    for targets in (None, torch.tensor([3, 0, 9])):
        options = {"loss": loss, "part": part, "seed": 4}
        exact = ammup.measure_updates(net, inputs, targets, method="jvp", **options)
        found = ammup.measure_updates(net, inputs, targets, method="difference", **options)
        np.testing.assert_allclose(found.S, exact.S, rtol=1e-5)
        np.testing.assert_allclose(found.S_bar_se, exact.S_bar_se, rtol=1e-4, atol=1e-12)
        np.testing.assert_allclose(
            list(found.gradient_squares.values()), list(exact.gradient_squares.values()), rtol=1e-9
        )


def test_learning_rate_factors_and_optimizers_change_the_direction() -> None:
    net = ammup.mlp(2, width=8, in_features=12).double()
    inputs, classes = torch.ones(2, 12), torch.tensor([0, 1])
    for options in (
        {"lr_factors": {"layers.0.weight": 3.0, "readout.weight": 0.0}},
        {"optimizer": lambda params, lr: torch.optim.SGD(params, lr, weight_decay=0.5)},
        {"optimizer": lambda params, lr: torch.optim.Adam(params, lr)},
    ):
        exact = ammup.measure_updates(net, inputs, classes, loss="cross_entropy", method="jvp", **options)
        found = ammup.measure_updates(net, inputs, classes, loss="cross_entropy", method="difference", **options)
        np.testing.assert_allclose(found.S, exact.S, rtol=1e-5)


class Detached(nn.Module):
    """z / max |z| with the maximum detached: it has no gradient, but it changes with the weights."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z / z.abs().max().detach()


def test_change_of_a_detached_statistic_is_measured() -> None:
    net = nn.Sequential(nn.Linear(3, 1, bias=False), Detached(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[2.0, 0.0, 0.0]]))
        net[2].weight.fill_(1.0)
    x, y = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0]])
    found = ammup.measure_updates(net, x, y, loss="mse", units=["0", "1"])
    # The output is always w_2, so unit 1 does not change. For autograd it is w_2 w/2 with a constant 2, so dw = 1/2.
    np.testing.assert_allclose(found.S, [0.25, 0.0], atol=1e-12)
    wrong = ammup.measure_updates(net, x, y, loss="mse", units=["0", "1"], method="jvp")
    assert wrong.S[1] == pytest.approx(0.0625)


def test_a_model_that_computes_in_float32_is_measured_with_larger_steps() -> None:
    class Single(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.tanh(z.float()).to(z.dtype)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 16), Single(), nn.Linear(16, 16), Single(), nn.Linear(16, 2))
    double = nn.Sequential(net[0], nn.Tanh(), net[2], nn.Tanh(), net[4]).double()
    expected = ammup.measure_updates(copy.deepcopy(double), X, CLASSES, loss="cross_entropy", units=["0", "2"])
    found = ammup.measure_updates(net.float(), X, CLASSES, loss="cross_entropy", units=["0", "2"])
    np.testing.assert_allclose(found.S, expected.S, rtol=1e-2)
    assert 1e-7 < found.error < 0.1  # the error estimate includes rounding errors


def test_relative_curvature_of_a_square() -> None:
    """For z = w² and a relative step τ of w, the relative curvature is τ/2."""

    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones((), dtype=torch.float64))
            self.unit = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.unit(self.w**2 * x)

    x = torch.ones(1, 1, dtype=torch.float64)
    spec = MeasurementSpec(inputs=x, targets=x * 0, loss="mse", units=("unit",))
    measured = Difference(Square(), spec, ("unit",), 0)
    for epsilon in (1e-3, 1e-2):
        plus, minus = (measured.outputs_at({"w": torch.ones((), dtype=torch.float64)}, e) for e in (epsilon, -epsilon))
        S, curvature = central_difference(plus, [x], minus, epsilon)
        assert S[0] == pytest.approx(4)
        assert curvature[0] == pytest.approx(epsilon / 2, rel=1e-6)
        assert largest_change(plus, [x]) == pytest.approx(2 * epsilon + epsilon**2)


@pytest.mark.parametrize(("amplification", "passes"), [(1.0, 2), (1e4, 3), (1e-4, 3), (1e20, 4)])
def test_a_wrong_first_step_is_corrected(amplification: float, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = _linear()
    steps: list[float] = []
    monkeypatch.setattr("ammup.measurement.difference.AMPLIFICATION", amplification)
    run = Difference.outputs_at
    monkeypatch.setattr(Difference, "outputs_at", lambda self, d, e: (steps.append(e), run(self, d, e))[1])
    found = ammup.measure_updates(net, X, Y, loss="mse", units=["0", "1"], method="difference")
    assert len(steps) == passes
    assert steps[-1] == -steps[-2]
    expected = ammup.measure_updates(_linear(), X, Y, loss="mse", units=["0", "1"], method="jvp")
    np.testing.assert_allclose(found.S, expected.S, rtol=1e-5)


def test_units_that_do_not_move_have_no_error() -> None:
    net = _linear()
    net[0].weight.requires_grad_(False)
    found = ammup.measure_updates(net, X, Y, loss="mse", units=["0", "1"], method="difference")
    assert found.S[0] == 0
    assert found.S[1] > 0
    assert math.isfinite(found.error)


def test_a_unit_that_starts_at_zero_is_measured() -> None:
    net = nn.Sequential(nn.Linear(3, 2, bias=False))
    nn.init.zeros_(net[0].weight)
    found = ammup.measure_updates(net, X, Y, loss="mse", units=["0"], method="difference")
    slope = -(Y.double() / Y.numel()).T @ X.double()
    np.testing.assert_allclose(found.S, [float((X.double() @ slope.T).square().mean())], rtol=1e-6)


@pytest.mark.parametrize("fails_at", range(1, 5))  # the passes for the data flow, the gradient and the difference
def test_the_model_is_restored_if_any_pass_fails(fails_at: int) -> None:
    class Fails(nn.Module):
        runs = 0

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            Fails.runs += 1
            if Fails.runs >= fails_at:
                raise RuntimeError("out of luck")
            return z

    net = nn.Sequential(nn.Linear(3, 4), Fails(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    F.cross_entropy(nn.Sequential(net[0], net[2], net[3])(X), CLASSES).backward()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    gradients = [p.grad.clone() for p in net.parameters()]
    with pytest.raises(InputError, match="out of luck"):
        ammup.measure_updates(net, X, CLASSES, loss="cross_entropy", method="difference")
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients, strict=True))


class _SpectralNorm(nn.Module):
    """What spectral_norm computes in its next forward, without writing to buffers."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(layer.weight_orig.detach().clone()), nn.Parameter(layer.bias.detach())
        self.register_buffer("u", layer.weight_u.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            v = F.normalize(self.weight.T @ self.u, dim=0)
            u = F.normalize(self.weight @ v, dim=0)
        return F.linear(x, self.weight / (u @ self.weight @ v), self.bias)


def test_a_graph_with_buffers_written_in_its_forward_is_passed_back_several_times() -> None:
    """Kind of pytorch#55368: a second backward through spectral_norm fails."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.utils.spectral_norm(nn.Linear(4, 4)), nn.Linear(4, 2))
    pure = nn.Sequential(net[0], nn.Tanh(), _SpectralNorm(net[2]), net[3])
    found, expected = (ammup.measure_updates(model, X, label_draws=3, units=["0", "2"]) for model in (net, pure))
    np.testing.assert_allclose(found.S, expected.S, rtol=1e-6)
    again = ammup.measure_updates(net, X, label_draws=3, units=["0", "2"])
    assert again.S.tolist() == found.S.tolist()


def test_a_model_without_trainable_weights_is_rejected() -> None:
    with pytest.raises(InputError, match="Linear has no trainable weights"):
        trainable(nn.Linear(2, 2).requires_grad_(False))


def test_relative_steps_increase() -> None:
    assert list(RELATIVE_STEPS) == sorted(RELATIVE_STEPS)


def test_a_unit_in_float32_behind_one_in_float64_is_measured() -> None:
    """The first, small step changes only the unit in float64; the other one needs a larger step."""

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False)
            self.unit = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.unit(self.second(self.first(x)).float()).to(x.dtype)

    torch.manual_seed(2)
    net = Rounded()
    found = ammup.measure_updates(net, X, Y, loss="mse", units=["first", "unit"], method="difference")
    expected = ammup.measure_updates(_linear(), X, Y, loss="mse", units=["0", "1"], method="jvp")
    np.testing.assert_allclose(found.S, expected.S, rtol=1e-3)


def test_later_rows_take_the_step_from_the_original_weights() -> None:
    """A weight that starts at zero has a tiny norm after the passes of the first row, if it is not restored."""
    net = ammup.resnet(2, width=8, batchnorm=True).double()
    inputs = torch.randn((3, 3, 2, 2), generator=torch.Generator().manual_seed(0))
    exact, found = (ammup.measure_updates(net, inputs, method=method, seed=4) for method in ("jvp", "difference"))
    np.testing.assert_allclose(found.S, exact.S, rtol=1e-5)
