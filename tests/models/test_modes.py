"""The modes of the caller do not reach a model that is measured."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ammup
from ammup.models.modes import default_modes

X, Y = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 4
MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
}


class _Own(nn.Module):
    """A module that is measured by differences, in float32 alone on request."""

    def __init__(self, *, single: bool) -> None:
        super().__init__()
        self.layer, self.single = nn.Linear(32, 32), single

    def forward(self, x: Tensor) -> Tensor:
        if self.single and x.dtype == torch.float64:
            raise TypeError("float32 alone")
        return torch.tanh(self.layer(x))


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "batch norm": lambda: nn.BatchNorm1d(32),
    "own": lambda: _Own(single=False),
    "own in float32": lambda: _Own(single=True),
}


def _net(layer: str) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), LAYERS[layer](), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))


def _found(net: nn.Module, x: Tensor, y: Tensor) -> list[list[float]]:
    return [
        ammup.measure_updates(net, x, y, loss="cross_entropy").S.tolist(),
        ammup.measure_updates(net, x).S.tolist(),
        ammup.check_finite_step(net, x, y, lr=1e-2, loss="cross_entropy").true.tolist(),
        [group["lr"] for group in ammup.param_groups(net, 0.1, rule="per-unit", inputs=x, targets=y, loss="mse")],
    ]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("mode", MODES)
def test_a_measurement_is_the_same_in_every_mode(mode: str, layer: str) -> None:
    """Kinds of pytorch#65766 and #112583: autocast computes with casts of the weights that it has cached."""
    net = _net(layer)
    expected = _found(net, X, Y)
    with MODES[mode]():
        assert _found(net, X.clone(), Y.clone()) == expected


def test_training_in_autocast_is_the_same_with_a_logger() -> None:
    def trained(*, logged: bool) -> list[Tensor]:
        net = _net("own")
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        logger = ammup.UpdateLogger(net, every=1, loss="cross_entropy", optimizer=optimizer)
        for step in range(3):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(net(X), Y)
                if logged:
                    logger(step, X, Y)
                    ammup.depth_units(net, X)
                loss = loss + F.cross_entropy(net(X), Y)
            loss.backward()
            optimizer.step()
        return list(net.parameters())

    assert all(torch.equal(p, q) for p, q in zip(trained(logged=True), trained(logged=False), strict=True))


def test_they_return_afterwards() -> None:
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        with default_modes():
            assert not torch.is_autocast_enabled("cpu")
            assert not torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert torch.is_inference_mode_enabled()


def test_an_autocast_of_the_model_is_its_own() -> None:
    class Cast(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                self.dtype = F.linear(x, torch.ones(2, 2)).dtype
            return x

    net = Cast()
    with default_modes():
        net(torch.ones(1, 2))
    assert net.dtype == torch.bfloat16
