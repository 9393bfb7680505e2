"""True steps approach the first-order moments as the learning rate decreases."""

import numpy as np
import pytest
import torch
from small_nets import net_and_inputs
from torch.utils.checkpoint import checkpoint

import ammup
from ammup import InputError


@pytest.mark.parametrize("name", ["mlp", "cnn circular", "resnet batch norm"])
def test_true_step_approaches_first_order_linearly(name: str) -> None:
    net, x = net_and_inputs(name)
    y = torch.arange(len(x))
    gaps = [
        np.abs(ammup.check_finite_step(net, x, y, lr=lr, loss="cross_entropy").gap).max() for lr in (1e-4, 1e-5, 1e-6)
    ]
    assert gaps[1] == pytest.approx(gaps[0] / 10, rel=0.2)
    assert gaps[2] == pytest.approx(gaps[1] / 10, rel=0.2)
    single = ammup.check_finite_step(net.float(), x.float(), y, lr=1e-6, loss="cross_entropy")
    assert np.abs(single.gap).max() < 1e-4  # the copy is in float64, so no digits are lost
    step = ammup.check_finite_step(net.double(), x, y, lr=0.1, loss="cross_entropy")
    S = ammup.measure_updates(net, x, y, loss="cross_entropy").S
    np.testing.assert_allclose(step.first_order, 0.01 * S, rtol=1e-10)
    with pytest.raises(InputError, match="lr=0"):
        ammup.check_finite_step(net, x, y, lr=0.0)


def test_a_model_whose_units_do_not_move_is_rejected() -> None:
    net = ammup.mlp(2, width=4, in_features=4)
    for layer in net.layers:
        layer.requires_grad_(False)
    with pytest.raises(InputError, match="moves no depth unit"):
        ammup.check_finite_step(net, torch.ones(2, 4), lr=0.1)


class _Checkpointed(torch.nn.Module):
    """A layer in a reentrant checkpoint, whose gradient torch.func cannot compute, and one with complex weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 5), torch.nn.Linear(5, 5)
        self.phase = torch.nn.Parameter(torch.randn(5, 5, dtype=torch.complex64))
        self.out = torch.nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = checkpoint(self.second, self.first(x).tanh(), use_reentrant=True)
        return self.out((z.tanh().to(self.phase.dtype) @ self.phase).abs())


def test_steps_of_checkpointed_and_complex_weights_are_compared() -> None:
    torch.manual_seed(0)
    step = ammup.check_finite_step(_Checkpointed(), torch.randn(6, 4), torch.arange(6) % 2, lr=1e-6, loss="mse")
    assert np.abs(step.gap).max() < 1e-4
    assert (step.true > 0).all()
