"""True steps approach the first-order moments as the learning rate decreases."""

import numpy as np
import pytest
import torch
from small_nets import net_and_inputs

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
