"""Which method is taken, and why."""

import pytest
import torch
from torch import nn
from torchvision import models

import ammup
from ammup import InputError
from ammup.measurement.method import reason_against_jvp
from ammup.measurement.specification import MeasurementSpec

SPEC = MeasurementSpec(inputs=torch.ones(2, 3, 8, 8))


class Own(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def _hooked() -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_forward_hook(lambda *_: None)
    return net


def _hooked_weight() -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].weight.register_hook(lambda g: g)
    return net


def _replaced() -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].forward = lambda x: x
    return net


@pytest.mark.parametrize(
    "build",
    [
        lambda: ammup.mlp(2),
        lambda: ammup.resnet(2, width=4, batchnorm=True, dropout=0.1),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        models.resnet18,
        lambda: models.swin_t(),
    ],
)
def test_plain_functions_of_weights_are_left_to_jvp(build) -> None:
    assert reason_against_jvp(build(), SPEC) == ""


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: nn.Sequential(Own()), "module '0' is a .*Own, whose forward is unknown"),
        (Own, "the model is a .*Own"),
        (_hooked, "module '0' has hooks"),
        (_replaced, "module '0' has hooks or a forward of its own"),
        (_hooked_weight, "0.weight has hooks on its gradient"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "parametrize|forward"),
        (lambda: nn.Linear(2, 2).bfloat16(), "weight has dtype torch.bfloat16"),
        (lambda: nn.Linear(2, 2, dtype=torch.complex64), "weight has dtype torch.complex64"),
    ],
)
def test_everything_else_is_measured_by_differences(build, reason: str) -> None:
    assert __import__("re").search(reason, reason_against_jvp(build(), SPEC))


def test_a_call_of_the_user_is_code_of_the_user() -> None:
    spec = MeasurementSpec(inputs={"x": torch.ones(2, 2)}, forward=lambda model, inputs: model(inputs["x"]))
    assert "forward=" in reason_against_jvp(nn.Linear(2, 2), spec)


def test_hooks_of_all_modules_are_seen() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert "all modules" in reason_against_jvp(nn.Linear(2, 2), SPEC)
    finally:
        handle.remove()


def test_an_operator_without_a_forward_mode_rule_is_measured_all_the_same() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 2))
    net.add_module("bag", nn.Identity())
    tokens, classes = torch.tensor([[0, 1], [2, 3]]), torch.tensor([0, 1])
    found = ammup.measure_updates(
        net, tokens, classes, loss="cross_entropy", units=["1"], forward=lambda model, x: model(x)
    )
    assert found.method == "difference"
    assert found.S_bar > 0
    lazy = nn.Sequential(nn.RReLU(), nn.Linear(4, 4), nn.Linear(4, 2))  # no batching rule: jvp is refused
    found = ammup.measure_updates(lazy, torch.randn(3, 4), torch.tensor([0, 1, 1]), loss="cross_entropy")
    assert found.S_bar > 0


def test_float32_that_cannot_carry_the_answer_is_repeated_in_float64() -> None:
    torch.manual_seed(0)
    net, x, y = models.resnet18(), torch.randn(2, 3, 32, 32), torch.tensor([1, 2])
    single = ammup.measure_updates(net, x, y, loss="cross_entropy", method="jvp")
    found = ammup.measure_updates(net, x, y, loss="cross_entropy")
    exact = ammup.measure_updates(net.double(), x, y, loss="cross_entropy", method="jvp")
    assert single.error > 0.005
    assert abs(single.S_bar / exact.S_bar - 1) > 0.01
    assert found.method == "difference"
    assert "float32 may be off" in found.reason
    assert found.S_bar == pytest.approx(exact.S_bar, rel=1e-3)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match=r"method='vjp'.*auto, jvp, difference"):
        ammup.measure_updates(nn.Linear(2, 2), torch.ones(2, 2), method="vjp")


def test_jvp_is_taken_where_it_is_asked_for() -> None:
    found = ammup.measure_updates(
        nn.Sequential(nn.Linear(2, 3), Own(), nn.Linear(3, 2)), torch.ones(2, 2), method="jvp"
    )
    assert (found.method, found.reason) == ("jvp", "")


def test_a_readout_of_zeros_is_drawn_where_that_is_asked_for() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    nn.init.zeros_(net[4].weight)
    x, y = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    with pytest.raises(InputError, match="readout starts at zero, pass perturb_head"):
        ammup.measure_updates(net, x, y, loss="cross_entropy")
    one, two = (ammup.measure_updates(net, x, y, loss="cross_entropy", perturb_head=size).S for size in (1e-3, 2e-3))
    assert two / one == pytest.approx(4, rel=0.02)  # the gradient behind a small readout is proportional to it
    assert not net[4].weight.any()
    with pytest.raises(InputError, match="perturb_head=0"):
        ammup.measure_updates(net, x, y, loss="cross_entropy", perturb_head=0.0)
