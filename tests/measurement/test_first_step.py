"""Directions of a step, compared with update rules in closed form and with true steps of torch's optimizers."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from ammup import InputError
from ammup.measurement.first_step import FirstStep

WEIGHTS = {"a": torch.tensor([[1.0, -2.0]]), "b": torch.tensor([0.5])}
GRADIENT = {"a": torch.tensor([[0.3, -0.1]]), "b": torch.tensor([2.0])}
Rule = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _direction(optimizer: object) -> dict[str, torch.Tensor]:
    parameters = {name: nn.Parameter(w.clone()) for name, w in WEIGHTS.items()}
    return FirstStep.from_optimizer(optimizer, parameters).direction(WEIGHTS, GRADIENT)


@pytest.mark.parametrize(
    ("optimizer", "rule"),
    [
        (torch.optim.SGD, lambda w, g: g),
        (lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9), lambda w, g: g),
        (lambda p, lr: torch.optim.SGD(p, lr, weight_decay=0.1), lambda w, g: g + 0.1 * w),
        (lambda p, lr: torch.optim.SGD(p, 3 * lr, momentum=0.9, nesterov=True), lambda w, g: 3 * 1.9 * g),
        (lambda p, lr: torch.optim.Adam(p, lr, eps=0.1), lambda w, g: g / (g.abs() + 0.1)),
        (lambda p, lr: torch.optim.AdamW(p, lr, eps=0.1), lambda w, g: g / (g.abs() + 0.1) + 0.01 * w),
        (lambda p, lr: torch.optim.RMSprop(p, lr, alpha=0.75, eps=0.1), lambda w, g: g / (g.abs() / 2 + 0.1)),
    ],
)
def test_first_step_equals_the_update_rule(optimizer: Callable, rule: Rule) -> None:
    for name, direction in _direction(optimizer).items():
        torch.testing.assert_close(direction, rule(WEIGHTS[name], GRADIENT[name]))
        assert direction.dtype == WEIGHTS[name].dtype


@pytest.mark.parametrize("kind", ["momentum", "adam"])
def test_direction_in_the_middle_of_training_is_that_of_the_next_true_step(kind: str) -> None:
    parameters = {name: nn.Parameter(w.double()) for name, w in WEIGHTS.items()}
    groups = [{"params": [parameters["a"]], "lr": 0.02}, {"params": [parameters["b"]], "lr": 0.005}]
    optimizer = torch.optim.SGD(groups, momentum=0.9) if kind == "momentum" else torch.optim.Adam(groups)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for p in parameters.values():
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        optimizer.step()
    weights = {name: p.detach().clone() for name, p in parameters.items()}
    state = copy.deepcopy(optimizer.state_dict())
    found = FirstStep.from_optimizer(optimizer, parameters).direction(
        weights, {n: g.double() for n, g in GRADIENT.items()}
    )
    assert repr(optimizer.state_dict()) == repr(state)
    assert all(torch.equal(p, weights[name]) for name, p in parameters.items())
    for name, p in parameters.items():
        p.grad = GRADIENT[name].double()
    optimizer.step()
    for name, p in parameters.items():  # the direction is at learning rate 1 of the first group, 1/4 of the second
        torch.testing.assert_close(found[name], (weights[name] - p.detach()) / 0.02)


class _Squared(torch.optim.SGD):
    """SGD whose step is proportional to the square of the learning rate."""

    def __init__(self, params: list[torch.Tensor], lr: float) -> None:
        super().__init__(params, lr**2)


def _fails(params: list[torch.Tensor], lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr, momentum=-1.0)


def _of_another_model() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.ones(2))], 0.1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (_Squared, "proportional"),
        (_fails, "ValueError.*momentum"),
        (lambda params: None, "TypeError"),
        (lambda params, lr: "SGD", "returned str"),
        ("adam", "optimizer='adam'"),
        (_of_another_model(), "model's parameters"),
    ],
)
def test_invalid_optimizers_are_rejected(optimizer: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _direction(optimizer)


def test_an_optimizer_with_learning_rate_0_is_rejected() -> None:
    parameter = nn.Parameter(torch.ones(2))
    with pytest.raises(InputError, match="learning rate is 0"):
        FirstStep.from_optimizer(torch.optim.SGD([parameter], 0.0), {"a": parameter})
