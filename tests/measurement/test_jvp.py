"""The method "jvp", compared with explicit Jacobians, for single draws and for stacked draws."""

import copy
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_nets import NETS, UserNet, net_and_inputs
from torch import nn
from torch.nn import functional as F

import ammup
from ammup.measurement import jvp
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step


def _outputs_of(net: nn.Module, units: tuple[str, ...], x: torch.Tensor) -> list[torch.Tensor]:
    """Pre-activations of every unit, followed by the outputs."""
    values: dict[str, torch.Tensor] = {}
    modules = dict(net.named_modules())
    hooks = [modules[u].register_forward_hook(lambda _m, _a, z, u=u: values.__setitem__(u, z)) for u in units]
    out = net(x)
    for hook in hooks:
        hook.remove()
    return [*(values[u] for u in units), out]


def _jacobian(z: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
    """The Jacobian of z with respect to all parameters, by one backward pass for each entry of z."""
    rows = []
    for entry in z.reshape(-1):
        gradients = torch.autograd.grad(entry, parameters, retain_graph=True, allow_unused=True)
        rows.append(torch.cat([
            (torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in zip(gradients, parameters, strict=True)
        ]))  # fmt: skip
    return torch.stack(rows)


class _Explicit:
    """S_l = mean of (J_l J_outᵀ residual)² from explicit Jacobians."""

    def __init__(self, net: nn.Module, x: torch.Tensor) -> None:
        net = copy.deepcopy(net)
        *zs, out = _outputs_of(net, ammup.depth_units(net), x)
        parameters = list(net.parameters())
        self.outputs = out.detach()
        *self.units, self.out = (_jacobian(z, parameters) for z in (*zs, out))

    def S(self, residual: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        gradient = self.out.T @ residual(self.outputs).reshape(-1)
        return np.array([float((unit @ gradient).square().mean()) for unit in self.units])


@pytest.mark.parametrize("name", NETS)
def test_jvp_equals_explicit_jacobians(name: str) -> None:
    net, x = net_and_inputs(name)
    shape = net(x).shape
    y = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    explicit = _Explicit(net, x)
    for part, residual in (
        ("label", lambda z: -y / z.numel()),
        ("output", lambda z: z / z.numel()),
        ("total", lambda z: (z - y) / z.numel()),
    ):
        S = ammup.measure_updates(net, x, y, part=part).S
        np.testing.assert_allclose(S, explicit.S(residual), rtol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "cnn circular", "cnn zero", "resnet batch norm"])
def test_cross_entropy_equals_explicit_jacobians(name: str) -> None:
    net, x = net_and_inputs(name)
    out = net(x)
    y = torch.randint(10, (out.shape[0], *out.shape[2:]), generator=torch.Generator().manual_seed(1))
    one_hot = F.one_hot(y, 10).movedim(-1, 1).double()
    explicit = _Explicit(net, x)
    for part, residual in (
        ("label", lambda z: -one_hot / y.numel()),
        ("output", lambda z: z.softmax(1) / y.numel()),
        ("total", lambda z: (z.softmax(1) - one_hot) / y.numel()),
    ):
        S = ammup.measure_updates(net, x, y, loss="cross_entropy", part=part).S
        np.testing.assert_allclose(S, explicit.S(residual), rtol=1e-6)


@pytest.mark.parametrize("part", ["label", "output", "total"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("name", ["mlp", "cnn zero", "cnn offsets", "resnet", "resnet 1d"])
def test_stacked_draws_equal_single_draws(name: str, loss: str, part: str) -> None:
    factory, shape = NETS[name]
    x = torch.randn(shape, dtype=torch.float64)
    models = [factory(3, seed=seed).double() for seed in range(3)]
    for targets in (None, torch.randint(10, tuple(n for i, n in enumerate(models[0](x).shape) if i != 1))):
        spec = MeasurementSpec(inputs=x, targets=targets, loss=loss, part=part, label_draws=2)
        steps = [Step.from_model(model, spec) for model in models]
        each, stacked = jvp.measure_each(steps, [0, 1, 2]), jvp.measure_stacked(steps, [0, 1, 2])
        for a, b in zip(each, stacked, strict=True):
            np.testing.assert_allclose(a.S, b.S, rtol=1e-10)
            np.testing.assert_allclose(a.S_bar_se, b.S_bar_se, rtol=1e-9)


def test_small_nets_of_stateless_modules_are_stacked() -> None:
    def size(net: nn.Module, shape: tuple[int, ...]) -> int:
        return jvp.stack_size(Step.from_model(net, MeasurementSpec(inputs=torch.ones(shape))))

    assert size(ammup.mlp(4, width=64, in_features=64), (1, 64)) > 100
    assert size(ammup.mlp(4, width=512, in_features=512), (1, 512)) == 1  # the weights are too large
    assert size(ammup.cnn(4, width=32), (32, 3, 16, 16)) == 1  # the units are too large
    assert size(ammup.resnet(4, width=8, batchnorm=True), (4, 3, 8, 8)) == 1  # batch norm updates its buffers
    assert size(ammup.resnet(4, width=8, dropout=0.1), (4, 3, 8, 8)) == 1  # masks differ between draws
    assert size(ammup.resnet(4, width=8), (4, 3, 8, 8)) > 1
    assert size(UserNet(), (2, 4)) == 1  # a user's code may not run under vmap


def test_depth_64_at_width_1024_takes_less_than_6_times_its_parameters() -> None:
    code = """
import resource, torch, ammup
torch.set_num_threads(1)
ammup.measure_updates(ammup.mlp(2, width=600, in_features=600), torch.ones(1, 600))  # loads the libraries
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
base = peak()
net = ammup.mlp(64, width=1024, in_features=1024, out_features=1024)
ammup.measure_updates(net, torch.ones(1, 1024))
print((peak() - base) / sum(p.nbytes for p in net.parameters()))
"""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True)
    assert float(result.stdout) < 6
