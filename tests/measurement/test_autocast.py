"""S of a step whose gradient is computed under autocast, against a training step and finite differences in float64."""

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ammup
from ammup import InputError
from ammup.measurement import autocast as module
from ammup.measurement.autocast import active_autocast

Gradient = dict[str, Tensor]
HALF = [torch.bfloat16, torch.float16]


class _Own(nn.Module):
    """A user's module, with a norm and without biases before it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(12, 24, bias=False), nn.BatchNorm1d(24), nn.Linear(24, 24)
        self.out = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.b(self.norm(self.a(x.flatten(1))).relu()).relu())


NETS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "cnn": (lambda: ammup.cnn(3, width=8), ["layers.0", "layers.1", "layers.2"]),
    "own": (_Own, ["a", "b"]),
}


def _net(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETS[name][0]()


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, 2, 2, generator=generator), torch.randint(10, (8,), generator=generator)


def _half_mse(z: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(z.float(), F.one_hot(y, 10).float()) / 2


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": F.cross_entropy, "mse": _half_mse}


def _gradient_of_training(net: nn.Module, loss: Callable, dtype: torch.dtype, scale: float = 2.0**16) -> Gradient:
    """As in torch's guide: forward and loss inside autocast, backward outside, and a GradScaler for float16."""
    x, y = _batch()
    scaler = torch.amp.GradScaler("cpu", enabled=dtype is torch.float16, init_scale=scale)
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    with torch.autocast("cpu", dtype):
        value = loss(net(x), y)
    scaler.scale(value).backward()
    scaler.unscale_(optimizer)
    gradient = {name: p.grad.clone() for name, p in net.named_parameters()}
    optimizer.zero_grad()
    return gradient


def _record(found: dict[str, Tensor], unit: str, module: nn.Module, inputs: object, z: Tensor) -> None:
    found[unit] = z.detach().clone()


def _moments(net: nn.Module, units: list[str], direction: Gradient) -> list[float]:
    """S_l along a direction by central differences of two forwards in float64."""
    x, _ = _batch()
    size = sum(float(d.double().square().sum()) for d in direction.values()) ** 0.5
    epsilon = 1e-5 / size
    outputs = []
    for sign in (1, -1):
        moved, found = copy.deepcopy(net).double(), {}
        for name, p in moved.named_parameters():
            p.data += sign * epsilon * direction[name].double()
        for unit in units:
            moved.get_submodule(unit).register_forward_hook(partial(_record, found, unit))
        moved(x.double())
        outputs.append(found)
    ahead, behind = outputs
    return [float(((ahead[unit] - behind[unit]) / (2 * epsilon)).square().mean()) for unit in units]


@pytest.mark.parametrize("loss", [*LOSSES, _half_mse])
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", NETS)
def test_s_is_that_of_the_step_for_the_gradient_of_training(name: str, dtype: torch.dtype, loss: str) -> None:
    (x, y), net, units = _batch(), _net(name), NETS[name][1]
    gradient = _gradient_of_training(copy.deepcopy(net), LOSSES.get(loss, loss), dtype)
    found = ammup.measure_updates(net, x, y, loss=loss, units=units, autocast=dtype)
    np.testing.assert_allclose(found.S, _moments(net, units, gradient), rtol=1e-6)
    squares = {key: float(g.double().square().sum()) for key, g in gradient.items()}
    assert found.gradient_squares == pytest.approx(squares, rel=1e-5)
    assert found.reason == f"the gradient is computed under autocast in {dtype}"
    full = ammup.measure_updates(net, x, y, loss=loss, units=units)
    np.testing.assert_allclose(found.S, full.S, rtol=0.05 if dtype == torch.bfloat16 else 0.01)
    assert not np.allclose(found.S, full.S, rtol=1e-6)


@pytest.mark.parametrize("dtype", HALF)
def test_the_next_step_of_an_optimizer_in_training(dtype: torch.dtype) -> None:
    (x, y), net, units = _batch(), _net("own"), ["a", "b"]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1)
    logger = ammup.UpdateLogger(net, every=1, loss="cross_entropy", optimizer=optimizer, units=units, autocast=dtype)
    for step in range(3):
        optimizer.zero_grad()
        gradient = _gradient_of_training(copy.deepcopy(net), F.cross_entropy, dtype)
        logger(step, x, y)
        twin = copy.deepcopy(net).double()
        own = torch.optim.AdamW(twin.parameters(), lr=1e-3, weight_decay=0.1)
        own.load_state_dict(optimizer.state_dict())
        for name, p in twin.named_parameters():
            p.grad = gradient[name].double()
        before = {name: p.detach().clone() for name, p in twin.named_parameters()}
        own.step()
        direction = {name: (before[name] - p.detach()) / 1e-3 for name, p in twin.named_parameters()}
        np.testing.assert_allclose(logger.S[step], _moments(net, units, direction), rtol=1e-5)
        for name, p in net.named_parameters():
            p.grad = gradient[name]
        optimizer.step()


@pytest.mark.parametrize("factor", [1e-7, 1e4])
def test_float16_gradients_neither_underflow_nor_overflow(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    (x, y), net = _batch(), _net("cnn")

    def loss(z: Tensor, y: Tensor) -> Tensor:
        return factor * F.cross_entropy(z, y)

    def S() -> np.ndarray:
        return ammup.measure_updates(net, x, y, loss=loss, autocast=torch.float16).S

    expected = ammup.measure_updates(net, x, y, loss=loss).S
    np.testing.assert_allclose(S(), expected, rtol=0.02)
    if factor < 1:  # without the scale they do
        monkeypatch.setattr(module, "LARGEST_SCALE", 1.0)
        with pytest.raises(InputError, match="one step moves no depth unit"):
            S()


def test_the_logger_takes_the_autocast_of_the_call() -> None:
    (x, y), net = _batch(), _net("cnn")

    def measured(context: torch.dtype | None, given: torch.dtype | None) -> list[float]:
        logger = ammup.UpdateLogger(net, loss="cross_entropy", autocast=given)
        with torch.autocast("cpu", context or torch.bfloat16, enabled=context is not None):
            logger(0, x, y)
        return logger.S[0].tolist()

    as_trained = {dtype: ammup.measure_updates(net, x, y, loss="cross_entropy", autocast=dtype).S for dtype in HALF}
    for dtype in HALF:
        assert measured(dtype, None) == measured(None, dtype) == as_trained[dtype].tolist()
    assert measured(torch.bfloat16, torch.float16) == as_trained[torch.float16].tolist()
    assert measured(None, None) == ammup.measure_updates(net, x, y, loss="cross_entropy").S.tolist()


def test_active_autocast_is_that_of_the_model_s_device() -> None:
    net = nn.Linear(2, 2)
    assert active_autocast(net) is None
    with torch.autocast("cpu", torch.float16):
        assert active_autocast(net) is torch.float16
        assert active_autocast(net.to("meta")) is None
        with torch.autocast("cpu", enabled=False):
            assert active_autocast(nn.Linear(2, 2)) is None


def test_jvp_under_autocast_is_rejected() -> None:
    x, y = _batch()
    with pytest.raises(InputError, match="method='jvp' computes without autocast; use method='auto' or 'difference'"):
        ammup.measure_updates(_net("cnn"), x, y, loss="mse", method="jvp", autocast=torch.bfloat16)
