"""`measure_updates`: losses, parts, frozen weights and units; the model is not changed."""

import numpy as np
import pytest
import torch
from small_nets import net_and_inputs
from torch import nn
from torch.nn import functional as F

import ammup
from ammup import InputError
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step


def test_named_losses_equal_half_of_mse_loss_and_cross_entropy_of_torch() -> None:
    net, x = net_and_inputs("cnn circular")
    y = torch.tensor([3, 7])
    one_hot = F.one_hot(y, 10).double()
    mse = ammup.measure_updates(net, x, one_hot).S
    np.testing.assert_allclose(mse, ammup.measure_updates(net, x, y, loss="mse").S, rtol=1e-12)
    half = ammup.measure_updates(net, x, one_hot, loss=lambda z, t: F.mse_loss(z, t) / 2).S
    np.testing.assert_allclose(mse, half, rtol=1e-10)
    ours = ammup.measure_updates(net, x, y, loss="cross_entropy").S
    np.testing.assert_allclose(ours, ammup.measure_updates(net, x, y, loss=F.cross_entropy).S, rtol=1e-10)
    assert ammup.maximal_lr(net, x, y, loss="cross_entropy") == pytest.approx(ours.mean() ** -0.5)


@pytest.mark.parametrize("name", ["mlp he", "cnn 1d", "resnet last"])
def test_lemma_2_total_with_drawn_labels_is_a_term_plus_b_term(name: str) -> None:
    net, x = net_and_inputs(name)
    A, B, total = (
        ammup.measure_updates(net, x, part=part, label_draws=3, seed=5) for part in ("output", "label", "total")
    )
    np.testing.assert_allclose(A.S + B.S, total.S, rtol=1e-6)
    # The total is the mean over each drawn label and its negative, given as targets.
    step = Step.from_model(net, MeasurementSpec(inputs=x, label_draws=3))
    labels = step.labels(net(x).detach(), 5)
    signed = [ammup.measure_updates(net, x, sign * y).S for y in labels for sign in (1, -1)]
    np.testing.assert_allclose(total.S, np.mean(signed, axis=0), rtol=1e-10)


def test_moments_below_the_range_of_float32() -> None:
    net = ammup.mlp(2, width=8, in_features=8)
    with torch.no_grad():
        net.readout.weight.mul_(1e-25)
    S = ammup.measure_updates(net, torch.ones(1, 8), part="label").S
    double = ammup.measure_updates(net.double(), torch.ones(1, 8), part="label").S
    assert (S > 0).all()
    assert S.max() < 1e-45
    np.testing.assert_allclose(S, double, rtol=1e-4)


def test_frozen_weights_do_not_change() -> None:
    net, x = net_and_inputs("mlp")
    all_trainable = ammup.measure_updates(net, x, torch.arange(3), loss="mse").S
    net.layers[0].weight.requires_grad_(False)
    S = ammup.measure_updates(net, x, torch.arange(3), loss="mse").S
    assert S[0] == 0
    assert (S[1:] < all_trainable[1:]).all()


def test_units_can_be_chosen() -> None:
    net, x = net_and_inputs("resnet")
    moments = ammup.measure_updates(net, x, torch.tensor([0, 1]), loss="mse", units=["stem", "blocks.2"])
    assert moments.units == ("stem", "blocks.2")
    assert moments.S[1] == ammup.measure_updates(net, x, torch.tensor([0, 1]), loss="mse").S[2]


def _state(net: nn.Module) -> list[torch.Tensor]:
    return [t.detach().clone() for t in (*net.parameters(), *net.buffers(), *(p.grad for p in net.parameters()))]


@pytest.mark.parametrize("train", [True, False])
def test_model_and_random_state_are_not_changed(train: bool) -> None:
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
        ammup.measure_updates(net, torch.randn(4, 5, 4, 4, generator=torch.Generator()), y, loss="mse")
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
    net, x = net_and_inputs(name)
    y = torch.arange(len(x))
    cpu = ammup.measure_updates(net, x, y, loss="cross_entropy").S
    cuda = ammup.measure_updates(net.cuda(), x, y, loss="cross_entropy").S
    np.testing.assert_allclose(cuda, cpu, rtol=1e-8)
