"""The choice of a method, and the reasons that are given for it."""

import re

import pytest
import torch
from torch import nn
from torchvision import models

import ammup
from ammup import InputError
from ammup.measurement.method import reason_against_jvp
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step

SPEC = MeasurementSpec(inputs=torch.ones(2, 3, 8, 8))


class UserModule(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Single(nn.Linear):
    """Like a module of torch with a kernel in float32 only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x.float(), self.weight, self.bias)


Single.__module__ = "torch.nn.modules.single"


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
def test_jvp_is_reliable_for_modules_of_torch_torchvision_and_the_library(build) -> None:
    assert reason_against_jvp(build(), SPEC) == ""


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: nn.Sequential(UserModule()), "module '0' is a .*UserModule"),
        (UserModule, "the model is a .*UserModule"),
        (_hooked, "module '0' has hooks"),
        (_replaced, "module '0' has hooks or a replaced forward"),
        (_hooked_weight, "0.weight has hooks on its gradient"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "parametrize|forward"),
        (lambda: nn.Linear(2, 2).bfloat16(), "weight has dtype torch.bfloat16"),
        (lambda: nn.Linear(2, 2, dtype=torch.complex64), "weight has dtype torch.complex64"),
    ],
)
def test_reasons_against_jvp_for_other_models(build, reason: str) -> None:
    assert re.search(reason, reason_against_jvp(build(), SPEC))


def test_forward_argument_is_a_reason_against_jvp() -> None:
    spec = MeasurementSpec(inputs={"x": torch.ones(2, 2)}, forward=lambda model, inputs: model(inputs["x"]))
    assert "forward=" in reason_against_jvp(nn.Linear(2, 2), spec)


def test_global_hooks_are_a_reason_against_jvp() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert "all modules" in reason_against_jvp(nn.Linear(2, 2), SPEC)
    finally:
        handle.remove()


def test_models_that_jvp_does_not_support_are_measured_by_differences() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 2))
    net.add_module("bag", nn.Identity())
    tokens, classes = torch.tensor([[0, 1], [2, 3]]), torch.tensor([0, 1])
    found = ammup.measure_updates(
        net, tokens, classes, loss="cross_entropy", units=["1"], forward=lambda model, x: model(x)
    )
    assert found.method == "difference"
    assert found.S_bar > 0
    lazy = nn.Sequential(nn.RReLU(), nn.Linear(4, 4), nn.Linear(4, 2))  # RReLU has no batching rule
    found = ammup.measure_updates(lazy, torch.randn(3, 4), torch.tensor([0, 1, 1]), loss="cross_entropy")
    assert found.S_bar > 0


def test_measurement_with_large_rounding_errors_is_repeated_in_float64() -> None:
    torch.manual_seed(0)
    net, x, y = models.resnet18(), torch.randn(2, 3, 32, 32), torch.tensor([1, 2])
    single = ammup.measure_updates(net, x, y, loss="cross_entropy", method="jvp")
    found = ammup.measure_updates(net, x, y, loss="cross_entropy")
    exact = ammup.measure_updates(net.double(), x, y, loss="cross_entropy", method="jvp")
    assert single.error > 0.005
    assert abs(single.S_bar / exact.S_bar - 1) > 0.01
    assert found.method == "difference"
    assert re.fullmatch(r"the relative error of jvp in torch.float32 may be [\d.]+", found.reason)
    assert found.S_bar == pytest.approx(exact.S_bar, rel=1e-4)
    assert found.error < 1e-4


@pytest.mark.parametrize("whole", [True, False])
def test_steps_of_weights_with_common_elements_add_up(whole: bool) -> None:
    """Compared with a true step: SGD changes such elements once for each of the weights."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    if whole:
        net[2].weight.data = net[0].weight.data
    else:
        net[2].bias.data = net[2].weight.data[3]
    x, y = torch.randn(16, 8).double(), torch.randn(16, 4).double()
    found = ammup.measure_updates(net, x, y, units=["0", "2"])
    before = _outputs(net, x)
    (0.5 * nn.functional.mse_loss(net(x), y)).backward()
    torch.optim.SGD(net.parameters(), lr=1e-6).step()
    expected = [float((b - a).square().mean()) / 1e-12 for a, b in zip(before, _outputs(net, x), strict=True)]
    assert pytest.approx(expected, rel=1e-4) == found.S
    assert "share memory" in found.reason


def _outputs(net: nn.Sequential, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        return net[0](x), net[:3](x)


def test_rounding_errors_are_found_before_the_passes_of_jvp(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, x, y = models.resnet18(), torch.randn(2, 3, 32, 32), torch.tensor([1, 2])
    net.fc = nn.Linear(512, 10)
    passes: list[int] = []
    backward = Step.backward_and_units
    monkeypatch.setattr(
        Step, "backward_and_units", lambda self, *a, **k: (passes.append(1), backward(self, *a, **k))[1]
    )
    ammup.measure_updates(net, x, y, loss="cross_entropy")
    assert passes == []
    found = ammup.measure_updates(net.eval(), x, y, loss="cross_entropy")  # batch norm without batch statistics
    assert (found.method, len(passes)) == ("jvp", 1)


def test_large_rounding_errors_of_a_model_that_does_not_run_in_float64_are_avoided_by_differences() -> None:
    torch.manual_seed(0)
    net, x, y = models.resnet18(), torch.randn(2, 3, 32, 32), torch.tensor([1, 2])
    net.fc = Single(512, 10)
    found = ammup.measure_updates(net, x, y, loss="cross_entropy")
    assert found.method == "difference"
    assert re.search(r"jvp in torch.float32 may be .*does not run in float64", found.reason)


def test_an_unknown_method_is_rejected() -> None:
    with pytest.raises(InputError, match=r"method='vjp'.*auto, jvp, difference"):
        ammup.measure_updates(nn.Linear(2, 2), torch.ones(2, 2), method="vjp")


def test_jvp_is_used_if_it_is_requested() -> None:
    model = nn.Sequential(nn.Linear(2, 3), UserModule(), nn.Linear(3, 2))
    found = ammup.measure_updates(model, torch.ones(2, 2), method="jvp")
    assert (found.method, found.reason) == ("jvp", "")


def test_perturb_head_draws_a_readout_that_starts_at_zero() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    nn.init.zeros_(net[4].weight)
    x, y = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    with pytest.raises(InputError, match="readout starts at zero, pass perturb_head"):
        ammup.measure_updates(net, x, y, loss="cross_entropy")
    one, two = (ammup.measure_updates(net, x, y, loss="cross_entropy", perturb_head=size).S for size in (1e-3, 2e-3))
    assert two / one == pytest.approx(4, rel=0.02)  # the gradients before a small readout are proportional to it
    assert not net[4].weight.any()
    with pytest.raises(InputError, match="perturb_head=0"):
        ammup.measure_updates(net, x, y, loss="cross_entropy", perturb_head=0.0)


@pytest.mark.parametrize("normalized", [False, True])  # without norms, the label rows are measured under vmap
@pytest.mark.parametrize("part", ["", "2"])
def test_modules_compiled_in_place_run_uncompiled(part: str, normalized: bool) -> None:
    """Kind of pytorch#192985: Dynamo fails in, or changes, the transforms of torch.func."""

    def net() -> nn.Sequential:
        torch.manual_seed(0)
        norm = nn.BatchNorm1d(8) if normalized else nn.Tanh()
        return nn.Sequential(nn.Linear(6, 8), norm, nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))

    compiled, x = net(), torch.randn(8, 6)
    compiled.get_submodule(part).compile(backend="eager")
    expected, found = (ammup.measure_updates(model, x) for model in (net(), compiled))
    assert found.method == expected.method == "jvp"
    assert found.S.tolist() == expected.S.tolist()


class _Scalars(nn.Module):
    """Weights without dimensions, to which Python's numbers are added."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor([0.1, 0.2]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.shift
        return x * (self.gain + 1.0) + 0.5 * a - (b + 2.0) * 0.1


def test_numbers_added_to_weights_without_dimensions() -> None:
    """Kind of pytorch#90065: the tangents are of another dtype than the values."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(6, 8), _Scalars(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4)), torch.randn(8, 6)
    found, expected = (ammup.measure_updates(net, x, method=method).S for method in ("jvp", "difference"))
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_checkpoints_are_measured_by_differences() -> None:
    """Kind of pytorch/vision#2221 and pytorch#146036: torch.func rejects the hooks by which checkpoints recompute."""
    torch.manual_seed(0)
    plain, recomputed = (models.DenseNet(8, (2, 2), 16, num_classes=4, memory_efficient=way) for way in (False, True))
    recomputed.load_state_dict(plain.state_dict())
    x, y = torch.randn(4, 3, 32, 32), torch.arange(4)
    expected, found = (ammup.measure_updates(net, x, y, loss="cross_entropy") for net in (plain, recomputed))
    assert found.units == expected.units
    assert (found.method, found.reason[:10]) == ("difference", "jvp failed")
    assert found.S.tolist() == pytest.approx(expected.S.tolist(), rel=5e-3)
