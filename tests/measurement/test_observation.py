"""Observing units, and the checks of names and outputs."""

import pytest
import torch
from torch import Tensor, nn

from ammup import InputError
from ammup.measurement.loss import Objective
from ammup.measurement.observation import checked_outputs, checked_units, observed_units, resolved_units
from ammup.measurement.specification import MeasurementSpec
from ammup.models import depth

CROSS_ENTROPY = Objective(loss="cross_entropy", part="total", label_draws=1)
MSE = Objective(loss="mse", part="total", label_draws=1)


def _observed(net: nn.Module, units: tuple[str, ...], *inputs: Tensor) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    with observed_units(net, units, outputs.__setitem__):
        net(*inputs)
    return outputs


def test_output_of_each_unit_is_recorded() -> None:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5, 3)
    outputs = _observed(net, ("0", "2"), x)
    assert list(outputs) == ["0", "2"]
    torch.testing.assert_close(outputs["0"], net[0](x))
    torch.testing.assert_close(outputs["2"], net(x))
    assert not any(module._forward_hooks for module in net.modules())


def test_first_tensor_of_a_tuple_is_recorded() -> None:
    net, x = nn.Sequential(nn.LSTM(3, 4)), torch.randn(5, 2, 3)
    assert torch.equal(_observed(net, ("0",), x)["0"], net(x)[0])


def test_unit_that_does_not_return_a_tensor_is_rejected() -> None:
    class Returns(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"x": x}

    with pytest.raises(InputError, match="unit '0' returned dict"):
        _observed(nn.Sequential(Returns()), ("0",), torch.ones(1))


@pytest.mark.parametrize("runs", [0, 2])
def test_unit_that_does_not_run_exactly_once_is_rejected(runs: int) -> None:
    class Repeats(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(runs):
                x = self.layer(x)
            return x

    with pytest.raises(InputError, match=r"units \['layer'\] did not run exactly once"):
        _observed(Repeats(), ("layer",), torch.ones(1, 2))


@pytest.mark.parametrize("units", [(), ("0", "0"), ("3",), ("nowhere:add",)])
def test_names_that_are_not_distinct_modules_are_rejected(units: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"units=.*distinct module names"):
        checked_units(nn.Sequential(nn.Linear(2, 2)), units)


def test_names_of_functions_and_second_calls_are_accepted() -> None:
    assert checked_units(nn.Sequential(nn.Linear(2, 2)), ["0", "0@2", "0:add", ":add"]) == ("0", "0@2", "0:add", ":add")


def test_outputs_have_a_class_axis_except_for_mse() -> None:
    x, z = torch.ones(3, 2), torch.ones(3)
    assert checked_outputs(z, x, MSE) is z
    for outputs in (z, (x, x), {"logits": x}, torch.ones(2, 2)):
        with pytest.raises(InputError, match="the model returned"):
            checked_outputs(outputs, x, CROSS_ENTROPY)


class _Plain(nn.Linear):
    """A module of the user."""


@pytest.mark.parametrize(
    ("net", "batches"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), [2]),
        (nn.Sequential(nn.Linear(3, 4), nn.Unflatten(0, (4, 2)), nn.Linear(4, 2)), [2, 8]),  # only for 8 samples
        (nn.Sequential(_Plain(3, 4), nn.Linear(4, 2)), [8]),  # the forward may depend on the batch size
    ],
)
def test_units_of_pure_models_are_found_on_two_samples(
    net: nn.Sequential, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    run = depth._run
    monkeypatch.setattr(depth, "_run", lambda model, x, forward: (seen.append(len(x)), run(model, x, forward))[1])
    inputs = torch.randn(8, 3)
    units = resolved_units(net, MeasurementSpec(inputs=inputs, loss="mse"), inputs, None)
    assert seen == batches
    assert units == depth.depth_units(net, inputs)
