"""One-step moments against explicit Jacobians, true steps and closed forms; the model handed in stays untouched."""

import copy
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ammup
from ammup import InputError
from ammup.measurement import updates
from ammup.measurement.specification import MeasurementSpec

PLUS = [(0, 0), (1, 0), (0, 1), (-1, -1)]
IMAGES = (2, 3, 4, 5)

NETS = {
    "mlp": (partial(ammup.mlp, width=[5, 6, 4], in_features=7, activation="gelu"), (3, 7)),
    "mlp he": (partial(ammup.mlp, width=5, in_features=7, readout="he"), (1, 7)),
    "cnn circular": (partial(ammup.cnn, width=4), IMAGES),
    "cnn zero": (partial(ammup.cnn, width=4, padding="zero", head="field"), IMAGES),
    "cnn rectangle": (partial(ammup.cnn, width=[4, 3, 5], kernel=(1, 3), activation="gelu"), IMAGES),
    "cnn even": (partial(ammup.cnn, width=4, kernel=2), IMAGES),
    "cnn offsets": (partial(ammup.cnn, width=4, kernel=PLUS, groups=2), IMAGES),
    "cnn offsets zero": (partial(ammup.cnn, width=4, kernel=PLUS, padding="zero"), IMAGES),
    "cnn 1d": (partial(ammup.cnn, width=4, dims=1, head="field"), (2, 3, 6)),
    "cnn 1d zero": (partial(ammup.cnn, width=4, dims=1, kernel=[0, 2], padding="zero"), (2, 3, 6)),
    "resnet": (partial(ammup.resnet, width=4), IMAGES),
    "resnet last": (partial(ammup.resnet, width=4, scaled="last", padding="zero", readout="he"), IMAGES),
    "resnet dense": (partial(ammup.resnet, width=6, dims=0, branch=1, in_channels=7), (2, 7)),
    "resnet 1d": (partial(ammup.resnet, width=4, dims=1, branch=3, head="field"), (2, 3, 6)),
    "resnet mixed": (partial(ammup.resnet, width=4, branch=("conv", "conv", "dense"), groups=2, dilation=2), IMAGES),
    "resnet projection": (partial(ammup.resnet, width=4, projections=[2]), IMAGES),
    "resnet batch norm": (partial(ammup.resnet, width=4, batchnorm=True), IMAGES),
}


def _outputs_of(net: nn.Module, units: tuple[str, ...], x: torch.Tensor) -> list[torch.Tensor]:
    """Pre-activations of every unit, and the outputs last."""
    seen: dict[str, torch.Tensor] = {}
    modules = dict(net.named_modules())
    hooks = [modules[u].register_forward_hook(lambda _m, _a, z, u=u: seen.__setitem__(u, z)) for u in units]
    out = net(x)
    for hook in hooks:
        hook.remove()
    return [*(seen[u] for u in units), out]


def _jacobian(z: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
    """d z / d all parameters, one entry of z after the other: the naive way."""
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


def _net(name: str) -> tuple[nn.Module, torch.Tensor]:
    factory, shape = NETS[name]
    generator = torch.Generator().manual_seed(0)
    return factory(3, seed=1).double(), torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", NETS)
def test_jvp_equals_explicit_jacobians(name: str) -> None:
    net, x = _net(name)
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
    net, x = _net(name)
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


def test_losses_are_those_of_the_paper_and_of_torch() -> None:
    """The named losses have the gradients of ½ F.mse_loss and F.cross_entropy."""
    net, x = _net("cnn circular")
    y = torch.tensor([3, 7])
    one_hot = F.one_hot(y, 10).double()
    mse = ammup.measure_updates(net, x, one_hot).S
    np.testing.assert_allclose(mse, ammup.measure_updates(net, x, y).S, rtol=1e-12)
    half = ammup.measure_updates(net, x, one_hot, loss=lambda z, t: F.mse_loss(z, t) / 2).S
    np.testing.assert_allclose(mse, half, rtol=1e-10)
    ours = ammup.measure_updates(net, x, y, loss="cross_entropy").S
    np.testing.assert_allclose(ours, ammup.measure_updates(net, x, y, loss=F.cross_entropy).S, rtol=1e-10)
    assert ammup.maximal_lr(net, x, y, loss="cross_entropy") == pytest.approx(ours.mean() ** -0.5)


@pytest.mark.parametrize("name", ["mlp he", "cnn 1d", "resnet last"])
def test_lemma_2_a_plus_b_is_the_total_over_independent_labels(name: str) -> None:
    net, x = _net(name)
    A, B, total = (
        ammup.measure_updates(net, x, part=part, label_draws=3, seed=5) for part in ("output", "label", "total")
    )
    np.testing.assert_allclose(A.S + B.S, total.S, rtol=1e-6)
    # The total is the mean over each drawn label and its negative, both given as plain targets.
    step_labels = updates.Step.of(net, MeasurementSpec(inputs=x, label_draws=3))
    labels = step_labels.labels(net(x).detach(), 5)
    signed = [ammup.measure_updates(net, x, sign * y).S for y in labels for sign in (1, -1)]
    np.testing.assert_allclose(total.S, np.mean(signed, axis=0), rtol=1e-10)


@pytest.mark.parametrize("part", ["label", "output", "total"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("name", ["mlp", "cnn zero", "cnn offsets", "resnet", "resnet 1d"])
def test_stacked_draws_equal_draws_one_after_the_other(name: str, loss: str, part: str) -> None:
    factory, shape = NETS[name]
    x = torch.randn(shape, dtype=torch.float64)
    models = [factory(3, seed=seed).double() for seed in range(3)]
    for targets in (None, torch.randint(10, tuple(n for i, n in enumerate(models[0](x).shape) if i != 1))):
        spec = MeasurementSpec(inputs=x, targets=targets, loss=loss, part=part, label_draws=2)
        steps = [updates.Step.of(model, spec) for model in models]
        each, stacked = updates._measure_each(steps, [0, 1, 2]), updates._measure_stacked(steps, [0, 1, 2])
        for a, b in zip(each, stacked, strict=True):
            np.testing.assert_allclose(a.S, b.S, rtol=1e-10)
            np.testing.assert_allclose(a.S_bar_se, b.S_bar_se, rtol=1e-9)


def test_what_is_stacked() -> None:
    def size(net: nn.Module, shape: tuple[int, ...]) -> int:
        return updates.stack_size(updates.Step.of(net, MeasurementSpec(inputs=torch.ones(shape))))

    assert size(ammup.mlp(4, width=64, in_features=64), (1, 64)) > 100
    assert size(ammup.mlp(4, width=512, in_features=512), (1, 512)) == 1  # leaves the cache
    assert size(ammup.cnn(4, width=32), (32, 3, 16, 16)) == 1  # leaves the cache
    assert size(ammup.resnet(4, width=8, batchnorm=True), (4, 3, 8, 8)) == 1  # batch norm updates its buffers
    assert size(ammup.resnet(4, width=8, dropout=0.1), (4, 3, 8, 8)) == 1  # masks differ between draws
    assert size(ammup.resnet(4, width=8), (4, 3, 8, 8)) > 1
    assert size(_UserNet(), (2, 4)) == 1  # unknown code need not run under vmap


class _UserNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.second(self.first(x).relu()).relu())


def test_label_draws_share_the_mean_and_report_their_error() -> None:
    net, x = _net("mlp he")
    many = ammup.measure_updates(net, x, part="label", label_draws=400)
    few = [ammup.measure_updates(net, x, part="label", label_draws=8, seed=s) for s in range(50)]
    spread = np.std([m.S_bar for m in few], ddof=1)
    # The standard deviation of 50 values is known to 10 %, a mean of 50 standard errors better: 40 % is 4 of both.
    assert np.mean([m.S_bar_se for m in few]) == pytest.approx(spread, rel=0.4)
    assert abs(np.mean([m.S_bar for m in few]) - many.S_bar) < 5 * np.hypot(spread / 50**0.5, many.S_bar_se)
    assert np.isnan(ammup.measure_updates(net, x, label_draws=1).S_bar_se)
    assert ammup.measure_updates(net, x, torch.zeros(1, 10)).S_bar_se == 0


@pytest.mark.parametrize("name", ["mlp", "cnn circular", "resnet batch norm"])
def test_true_step_approaches_first_order_linearly(name: str) -> None:
    net, x = _net(name)
    y = torch.arange(len(x))
    gaps = [
        np.abs(ammup.check_finite_step(net, x, y, lr=lr, loss="cross_entropy").gap).max() for lr in (1e-4, 1e-5, 1e-6)
    ]
    assert gaps[1] == pytest.approx(gaps[0] / 10, rel=0.2)
    assert gaps[2] == pytest.approx(gaps[1] / 10, rel=0.2)
    single = ammup.check_finite_step(net.float(), x.float(), y, lr=1e-6, loss="cross_entropy")
    assert np.abs(single.gap).max() < 1e-4  # no cancellation
    step = ammup.check_finite_step(net.double(), x, y, lr=0.1, loss="cross_entropy")
    S = ammup.measure_updates(net, x, y, loss="cross_entropy").S
    np.testing.assert_allclose(step.first_order, 0.01 * S, rtol=1e-10)
    with pytest.raises(InputError, match="lr=0"):
        ammup.check_finite_step(net, x, y, lr=0.0)


def test_moments_beyond_the_range_of_float32_squares() -> None:
    net = ammup.mlp(2, width=8, in_features=8)
    with torch.no_grad():
        net.readout.weight.mul_(1e-25)
    S = ammup.measure_updates(net, torch.ones(1, 8), part="label").S
    double = ammup.measure_updates(net.double(), torch.ones(1, 8), part="label").S
    assert (S > 0).all()
    assert S.max() < 1e-45
    np.testing.assert_allclose(S, double, rtol=1e-4)


def test_frozen_weights_take_no_step() -> None:
    net, x = _net("mlp")
    everything = ammup.measure_updates(net, x, torch.arange(3)).S
    net.layers[0].weight.requires_grad_(False)
    S = ammup.measure_updates(net, x, torch.arange(3)).S
    assert S[0] == 0
    assert (S[1:] < everything[1:]).all()


def test_units_can_be_chosen() -> None:
    net, x = _net("resnet")
    moments = ammup.measure_updates(net, x, torch.tensor([0, 1]), units=["stem", "blocks.2"])
    assert moments.units == ("stem", "blocks.2")
    assert moments.S[1] == ammup.measure_updates(net, x, torch.tensor([0, 1])).S[2]


def _state(net: nn.Module) -> list[torch.Tensor]:
    return [t.detach().clone() for t in (*net.parameters(), *net.buffers(), *(p.grad for p in net.parameters()))]


@pytest.mark.parametrize("train", [True, False])
def test_model_and_random_state_are_untouched(train: bool) -> None:
    net = ammup.resnet(2, width=4, batchnorm=True, dropout=0.3).train(train)
    net.blocks[1].eval()
    net(torch.randn(4, 3, 4, 4)).sum().backward()
    before, flags = _state(net), [m.training for m in net.modules()]
    hooks = [len(m._forward_hooks) for m in net.modules()]
    torch.manual_seed(0)
    rng = torch.get_rng_state()
    x, y = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    ammup.measure_updates(net, x, y, loss="cross_entropy")
    ammup.measure_updates(net, x, part="label")
    ammup.check_finite_step(net, x, y, lr=1.0, loss="cross_entropy")
    with pytest.raises(InputError):
        ammup.measure_updates(net, torch.randn(4, 5, 4, 4, generator=torch.Generator()), y)
    assert torch.equal(torch.get_rng_state(), rng)
    assert [m.training for m in net.modules()] == flags
    assert [len(m._forward_hooks) for m in net.modules()] == hooks
    assert all(torch.equal(a, b) for a, b in zip(before, _state(net), strict=True))
    assert all(p.requires_grad for p in net.parameters())


def test_float32_agrees_with_float64() -> None:
    net = ammup.cnn(6, width=16)
    x, y = torch.randn(4, 3, 8, 8), torch.arange(4)
    single = ammup.measure_updates(net, x, y, loss="cross_entropy").S
    double = ammup.measure_updates(net.double(), x, y, loss="cross_entropy").S
    np.testing.assert_allclose(single, double, rtol=2e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["mlp", "cnn circular", "resnet batch norm"])
def test_cuda_agrees_with_cpu(name: str) -> None:
    net, x = _net(name)
    y = torch.arange(len(x))
    cpu = ammup.measure_updates(net, x, y, loss="cross_entropy").S
    cuda = ammup.measure_updates(net.cuda(), x, y, loss="cross_entropy").S
    np.testing.assert_allclose(cuda, cpu, rtol=1e-8)


def test_depth_64_at_width_1024_takes_less_than_6_times_its_parameters() -> None:
    code = """
import resource, torch, ammup
torch.set_num_threads(1)
ammup.measure_updates(ammup.mlp(2, width=600, in_features=600), torch.ones(1, 600))  # libraries are loaded now
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
base = peak()
net = ammup.mlp(64, width=1024, in_features=1024, out_features=1024)
ammup.measure_updates(net, torch.ones(1, 1024))
print((peak() - base) / sum(p.nbytes for p in net.parameters()))
"""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True)
    assert float(result.stdout) < 6


def test_moments_that_are_not_numbers_are_refused() -> None:
    net = _UserNet()
    with torch.no_grad():
        net.first.weight.fill_(float("inf"))
    with pytest.raises(InputError, match="S_l of unit 'first' is not finite"):
        ammup.measure_updates(net, torch.ones(2, 4))
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    with pytest.raises(InputError, match="moves no depth unit"):
        ammup.measure_updates(net, torch.ones(2, 4), part="output")
