"""Sharpness, compared with eigendecompositions of complete matrices and with training at the edge of stability."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_nets import NETS, net_and_inputs
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import ammup
from ammup import InputError
from ammup.models.streams import seeded

PRECISE = 1e-9  # tolerance of the measurement where the oracle is a complete matrix
AGREE = 1e-6


def _flat(tensors: dict[str, Tensor] | list[Tensor]) -> Tensor:
    values = tensors.values() if isinstance(tensors, dict) else tensors
    return torch.cat([t.reshape(-1) for t in values])


def _complete(model: nn.Module, inputs: Any, targets: Tensor, loss: str, matrix: str) -> np.ndarray:
    """The complete matrix of all trainable weights, from Jacobians and Hessians of torch.autograd.functional."""
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    shapes, sizes = [w.shape for w in weights.values()], [w.numel() for w in weights.values()]

    def outputs(vector: Tensor) -> Tensor:
        parts = [part.reshape(shape) for part, shape in zip(vector.split(sizes), shapes, strict=True)]
        with seeded("masks", 0):
            return functional_call(model, dict(zip(weights, parts, strict=True)), inputs)

    def value(z: Tensor) -> Tensor:
        if loss == "cross_entropy":
            return F.cross_entropy(z, targets)
        return F.mse_loss(z, targets) / 2

    w = _flat(weights)
    if matrix == "hessian":
        return torch.autograd.functional.hessian(lambda v: value(outputs(v)), w, vectorize=True).numpy()
    z = outputs(w).detach()
    J = torch.autograd.functional.jacobian(outputs, w).reshape(z.numel(), -1)
    H = torch.autograd.functional.hessian(value, z).reshape(z.numel(), z.numel())
    if matrix == "ntk":
        H = torch.eye(z.numel(), dtype=z.dtype) / (z.numel() if loss == "mse" else z.numel() // z.shape[1])
    return (J.T @ H @ J).numpy()


def _labels(model: nn.Module, inputs: Tensor, loss: str) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad(), seeded("shape"):
        z = model(inputs)
    if loss == "mse":
        return torch.randn(z.shape, generator=generator, dtype=z.dtype)
    return torch.randint(z.shape[1], (z.shape[0], *z.shape[2:]), generator=generator)


@pytest.mark.parametrize("matrix", ["gauss-newton", "hessian", "ntk"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("name", ["mlp", "cnn zero", "resnet batch norm"])
def test_eigenvalue_equals_that_of_the_complete_matrix(name: str, loss: str, matrix: str) -> None:
    model, inputs = net_and_inputs(name)
    targets = _labels(model, inputs, loss)
    expected = np.linalg.eigvalsh(_complete(model, inputs, targets, loss, matrix))[-1]
    found = ammup.measure_sharpness(model, inputs, targets, loss=loss, matrix=matrix, tolerance=PRECISE)
    assert float(found) == pytest.approx(expected, rel=AGREE)
    assert abs(float(found) - expected) <= found.error + 1e-12 * expected
    assert found.edge == pytest.approx(2 / expected, rel=AGREE)
    assert (found.matrix, found.method) == (matrix, "backward")


@pytest.mark.parametrize("matrix", ["gauss-newton", "ntk"])
def test_finite_differences_give_the_same_eigenvalue(matrix: str) -> None:
    model, inputs = net_and_inputs("mlp")
    targets = _labels(model, inputs, "cross_entropy")
    expected = np.linalg.eigvalsh(_complete(model, inputs, targets, "cross_entropy", matrix))[-1]
    found = ammup.measure_sharpness(
        model, inputs, targets, loss="cross_entropy", matrix=matrix, method="difference", tolerance=1e-4
    )
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert found.method == "difference"
    hessian = np.linalg.eigvalsh(_complete(model, inputs, targets, "cross_entropy", "hessian"))[-1]
    found = ammup.measure_sharpness(
        model, inputs, targets, loss="cross_entropy", matrix="hessian", method="difference", tolerance=1e-4
    )
    assert float(found) == pytest.approx(hessian, rel=1e-5)  # GELU has no kinks


@pytest.mark.parametrize("tolerance", [0.1, 1e-2, 1e-4])
def test_the_error_bound_is_met(tolerance: float) -> None:
    for name in NETS:
        model, inputs = net_and_inputs(name)
        precise = ammup.measure_sharpness(model, inputs, tolerance=PRECISE)
        found = ammup.measure_sharpness(model, inputs, tolerance=tolerance)
        assert found.error <= tolerance * float(found)
        assert abs(float(found) - float(precise)) <= found.error + precise.error
        assert found.passes <= precise.passes


def test_closed_form_of_a_linear_net() -> None:
    """The Hessian of a linear layer is XᵀX / (B M); of two layers with one unit each, it follows by hand."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    net = nn.Linear(4, 3, bias=False).double()
    expected = float(torch.linalg.eigvalsh(x.T @ x)[-1]) / 18
    for matrix in ("gauss-newton", "hessian", "ntk"):
        found = ammup.measure_sharpness(net, x, torch.zeros(6, 3), loss="mse", matrix=matrix, tolerance=PRECISE)
        assert float(found) == pytest.approx(expected, rel=AGREE)
    two = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        two[0].weight.fill_(0.5)
        two[1].weight.fill_(2.0)
    one, y = torch.ones(1, 1), torch.zeros(1, 1)  # loss (a b)²/2: b², a², and 2 a b off the diagonal
    found = ammup.measure_sharpness(two, one, y, loss="mse", matrix="hessian", tolerance=PRECISE)
    assert float(found) == pytest.approx(float(np.linalg.eigvalsh([[4.0, 2.0], [2.0, 0.25]])[-1]), rel=AGREE)
    gauss_newton = ammup.measure_sharpness(two, one, y, loss="mse", tolerance=PRECISE)
    assert float(gauss_newton) == pytest.approx(4.25, rel=AGREE)


class Mixed(nn.Module):
    """Batch norm, dropout, tied and frozen weights, and an in-place sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.tied = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 5)
        self.tied.weight = self.b.weight
        self.b.bias.requires_grad_(False)
        self.norm, self.dropout, self.out = nn.BatchNorm1d(5), nn.Dropout(0.4), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.dropout(self.norm(self.a(x)).relu())
        z = self.b(h)
        z += h
        return self.out(self.tied(z.tanh()))


def _mixed() -> tuple[Mixed, Tensor, Tensor]:
    with seeded("mixed"):
        model, x = Mixed().double(), torch.randn(6, 4, dtype=torch.float64)
    return model, x, torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("matrix", ["gauss-newton", "hessian"])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_and_dropout_with_one_mask_and_frozen_weights(training: bool, matrix: str) -> None:
    model, x, y = _mixed()
    model.train(training)
    statistics = model.norm.running_mean.clone()
    found = ammup.measure_sharpness(model, x, y, loss="cross_entropy", matrix=matrix, tolerance=PRECISE)
    assert torch.equal(model.norm.running_mean, statistics)
    expected = np.linalg.eigvalsh(_complete(model, x, y, "cross_entropy", matrix))[-1]
    assert float(found) == pytest.approx(expected, rel=AGREE)


def _descended(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> float:
    """The loss of a quadratic problem after some steps."""
    for _ in range(steps):
        optimizer.zero_grad()
        (F.mse_loss(model(x), y) / 2).backward()
        optimizer.step()
    return float(F.mse_loss(model(x), y).detach() / 2)


OPTIMIZERS: dict[str, Callable[[Any, float], torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "weight decay": lambda p, lr: torch.optim.SGD(p, lr, weight_decay=0.3),
    "heavy ball": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9),
    "dampened": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.5, dampening=0.3),
    "nesterov": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True),
    "groups": lambda p, lr: torch.optim.SGD([{"params": [w], "lr": lr * 3**n} for n, w in enumerate(p)], momentum=0.5),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradient_descent_converges_below_the_edge_and_diverges_above_it(name: str) -> None:
    with seeded("quadratic"):
        model, x, y = nn.Linear(4, 2).double(), torch.randn(8, 4, dtype=torch.float64), torch.zeros(8, 2).double()
    make = OPTIMIZERS[name]
    edge = ammup.measure_sharpness(model, x, y, loss="mse", optimizer=make, tolerance=PRECISE).edge
    start = {key: value.clone() for key, value in model.state_dict().items()}
    losses = []
    for factor in (0.97, 1.03):
        model.load_state_dict(start)
        losses.append(_descended(model, x, y, make(list(model.parameters()), factor * edge), 1000))
    assert losses[0] < 0.1
    assert losses[1] > 1e3


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.Adam, {"betas": (0.9, 0.99)}),
        (torch.optim.Adam, {"betas": (0.5, 0.9), "amsgrad": True}),
        (torch.optim.AdamW, {"betas": (0.9, 0.99), "weight_decay": 0.0}),
        (torch.optim.RMSprop, {"alpha": 0.9, "momentum": 0.5}),
    ],
)
def test_preconditioned_matrix_of_an_adaptive_optimizer(kind: type, options: dict[str, Any]) -> None:
    """P from the definition of each optimizer in its documentation, after the next step on the same batch."""
    model, x, y = _mixed()
    model.eval()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = kind(weights, lr=0.01, **options)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    found = ammup.measure_sharpness(model, x, y, loss="cross_entropy", optimizer=optimizer, tolerance=PRECISE)
    M = _complete(model, x, y, "cross_entropy", "gauss-newton")
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    moments = []
    for p in weights:
        state = optimizer.state[p]
        if kind is torch.optim.RMSprop:
            moments.append((0.9 * state["square_avg"] + 0.1 * p.grad**2).sqrt() + 1e-8)
            continue
        beta1, beta2 = options["betas"]
        square = beta2 * state["exp_avg_sq"] + (1 - beta2) * p.grad**2
        square = torch.maximum(square, state["max_exp_avg_sq"]) if options.get("amsgrad") else square
        moments.append((1 - beta1**4) * ((square / (1 - beta2**4)).sqrt() + 1e-8))
    P = _flat(moments).numpy()
    expected = np.linalg.eigvals(M / P[:, None]).real.max()
    assert float(found) == pytest.approx(expected, rel=AGREE)
    beta = options.get("momentum") or options["betas"][0]
    assert found.limit == pytest.approx(2 * (1 + beta) / (1 if "momentum" in options else 1 - beta))


def test_learning_rate_factors_scale_rows_of_the_matrix() -> None:
    model, inputs = net_and_inputs("mlp")
    y = _labels(model, inputs, "cross_entropy")
    names = [name for name, _ in model.named_parameters()]
    factors = {names[0]: 4.0, names[1]: 0.0}
    found = ammup.measure_sharpness(model, inputs, y, loss="cross_entropy", lr_factors=factors, tolerance=PRECISE)
    scale = _flat([torch.full((p.numel(),), factors.get(name, 1.0)) for name, p in model.named_parameters()]).numpy()
    M = _complete(model, inputs, y, "cross_entropy", "gauss-newton")
    assert float(found) == pytest.approx(np.linalg.eigvals(scale[:, None] * M).real.max(), rel=AGREE)


class Once(torch.autograd.Function):
    """A function whose backward pass cannot be differentiated, and does not report it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.from_numpy(gradient.detach().numpy() * np.cos(x.detach().numpy()))


class Sine(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.a, self.b, self.c, self.kind = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3), kind

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        if self.kind == "checkpoint":
            return self.c(checkpoint(lambda z: self.b(z.sin()), h, use_reentrant=True))
        return self.c(self.b(Once.apply(h) if self.kind == "function" else h.sin()))


@pytest.mark.parametrize(
    ("kind", "method", "reason"),
    [
        ("plain", "backward", ""),
        ("function", "difference", "disagrees with finite differences"),
        ("checkpoint", "difference", "cannot be differentiated"),
    ],
)
def test_models_whose_backward_pass_cannot_be_differentiated(kind: str, method: str, reason: str) -> None:
    with seeded("sine"):
        model, x = Sine("plain"), torch.randn(6, 4)
    y = torch.arange(6) % 3
    expected = np.linalg.eigvalsh(_complete(model, x, y, "cross_entropy", "gauss-newton"))[-1]
    model.kind = kind
    found = ammup.measure_sharpness(model, x, y, loss="cross_entropy")
    assert float(found) == pytest.approx(expected, rel=1e-4)
    assert found.method == method
    assert reason in found.reason


def test_hooks_on_gradients_act_as_learning_rate_factors() -> None:
    model, inputs = net_and_inputs("mlp")
    y = _labels(model, inputs, "cross_entropy")
    name, p = next(iter(model.named_parameters()))
    expected = ammup.measure_sharpness(model, inputs, y, loss="cross_entropy", lr_factors={name: 9.0}, tolerance=1e-5)
    p.register_hook(lambda g: 9 * g)
    found = ammup.measure_sharpness(model, inputs, y, loss="cross_entropy", tolerance=1e-5)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert found.reason == f"{name} has hooks on its gradient"


def test_callable_losses_and_outputs_of_any_structure() -> None:
    model, inputs = net_and_inputs("mlp")
    y = _labels(model, inputs, "cross_entropy")
    expected = ammup.measure_sharpness(model, inputs, y, loss="cross_entropy", tolerance=PRECISE)

    def halves(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        z = model(x)
        return {"left": z[:, :4], "right": z[:, 4:]}

    loss = lambda z, y: F.cross_entropy(torch.cat([z["left"], z["right"]], 1), y)  # noqa: E731
    found = ammup.measure_sharpness(model, inputs, y, loss=loss, forward=halves, tolerance=PRECISE)
    assert float(found) == pytest.approx(float(expected), rel=AGREE)
    whole = lambda model, x: F.cross_entropy(model(x), y)  # noqa: E731
    options = {"loss": lambda z, _: z, "forward": whole}
    with pytest.raises(InputError, match="linear in the outputs"):
        ammup.measure_sharpness(model, inputs, y, **options)
    hessian = ammup.measure_sharpness(model, inputs, y, loss="cross_entropy", matrix="hessian", tolerance=PRECISE)
    found = ammup.measure_sharpness(model, inputs, y, matrix="hessian", tolerance=PRECISE, **options)
    assert float(found) == pytest.approx(float(hessian), rel=AGREE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_precision_of_the_weights(dtype: torch.dtype) -> None:
    model, inputs = net_and_inputs("cnn zero")
    y = _labels(model, inputs, "cross_entropy")
    model = model.to(dtype)
    expected = ammup.measure_sharpness(model.double(), inputs, y, loss="cross_entropy", tolerance=PRECISE)
    found = ammup.measure_sharpness(model.to(dtype), inputs, y, loss="cross_entropy", tolerance=1e-8)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    assert found.error <= 1e-8 * float(found)


def test_complex_weights_and_few_weights() -> None:
    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1 + 2j, 0.5 - 1j], dtype=torch.complex128))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.w).abs().square()

    x = torch.ones(3, 2, dtype=torch.float64)
    found = ammup.measure_sharpness(Complex(), x, torch.zeros(3, 2), loss="mse", tolerance=PRECISE)
    assert float(found) == pytest.approx(4 * 5 / 2, rel=AGREE)  # |2 w|² over the two outputs
    one = nn.Linear(1, 1, bias=False)
    assert float(ammup.measure_sharpness(one, 3 * torch.ones(2, 1), torch.zeros(2, 1), loss="mse")) == pytest.approx(9)


def test_result_is_short_and_depends_only_on_the_seed() -> None:
    model, x, y = _mixed()
    torch.manual_seed(1)
    first = ammup.measure_sharpness(model, x, y, loss="cross_entropy")
    torch.manual_seed(2)
    assert ammup.measure_sharpness(model, x, y, loss="cross_entropy") == first
    assert ammup.measure_sharpness(model, x, y, loss="cross_entropy", seed=1) != first
    assert repr(first).startswith("Sharpness(")
    assert "matrix='gauss-newton', passes=" in repr(first)
    assert len(repr(first)) < 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"matrix": "fisher"}, "unknown matrix='fisher'; expected one of: gauss-newton, hessian, ntk"),
        ({"method": "jvp"}, "unknown method='jvp'; expected one of: auto, backward, difference"),
        ({"tolerance": 0.0}, "tolerance=0.0 must be"),
        ({"tolerance": float("nan")}, "tolerance=nan must be"),
        ({"lr_factors": {"nowhere": 1.0}}, "expected names of trainable weights"),
        ({"optimizer": torch.optim.Rprop}, "the stability limit of Rprop is not known"),
        ({"optimizer": lambda p, lr: torch.optim.SGD(p, lr, maximize=True)}, "maximizes the loss"),
        (
            {"optimizer": lambda p, lr: torch.optim.SGD([{"params": [w], "momentum": 0.1 * n} for n, w in enumerate(p)],
                                                        lr)},
            "different momenta",
        ),
    ],
)  # fmt: skip
def test_invalid_input_is_reported(options: dict[str, Any], message: str) -> None:
    model, x, y = _mixed()
    with pytest.raises(InputError, match=message):
        ammup.measure_sharpness(model, x, y, loss="cross_entropy", **options)


def test_class_indices_need_a_loss() -> None:
    model, x, y = _mixed()
    with pytest.raises(InputError, match=r"targets are class indices .* loss= is missing"):
        ammup.measure_sharpness(model, x, y)
    with_mse = ammup.measure_sharpness(model, x, loss="mse")
    assert ammup.measure_sharpness(model, x) == with_mse


def test_a_matrix_that_is_zero_or_not_finite_is_reported() -> None:
    model, x, y = _mixed()
    factors = {name: 0.0 for name, p in model.named_parameters() if p.requires_grad}
    with pytest.raises(InputError, match="curvature matrix is zero"):
        ammup.measure_sharpness(model, x, y, loss="cross_entropy", lr_factors=factors)
    with torch.no_grad():
        model.out.weight.fill_(float("inf"))
    with pytest.raises(InputError, match="not finite"):
        ammup.measure_sharpness(model, x, y, loss="cross_entropy")
