"""Moments combined from residual rows."""

import numpy as np
import pytest
import torch
from small_nets import UserNet, net_and_inputs

import ammup
from ammup import InputError
from ammup.measurement.moments import combined_moments


def test_standard_error_over_label_draws_matches_the_spread_of_repeated_measurements() -> None:
    net, x = net_and_inputs("mlp he")
    many = ammup.measure_updates(net, x, part="label", label_draws=400)
    few = [ammup.measure_updates(net, x, part="label", label_draws=8, seed=s) for s in range(50)]
    spread = np.std([m.S_bar for m in few], ddof=1)
    # A standard deviation of 50 values has a relative error of 10 %; 40 % are four times that.
    assert np.mean([m.S_bar_se for m in few]) == pytest.approx(spread, rel=0.4)
    assert abs(np.mean([m.S_bar for m in few]) - many.S_bar) < 5 * np.hypot(spread / 50**0.5, many.S_bar_se)
    assert np.isnan(ammup.measure_updates(net, x, label_draws=1).S_bar_se)
    assert ammup.measure_updates(net, x, torch.zeros(1, 10)).S_bar_se == 0


def test_moments_that_are_not_finite_or_all_zero_are_rejected() -> None:
    net = UserNet()
    with torch.no_grad():
        net.first.weight.fill_(float("inf"))
    with pytest.raises(InputError, match="S_l of unit 'first' is not finite"):
        ammup.measure_updates(net, torch.ones(2, 4))
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    with pytest.raises(InputError, match="moves no depth unit"):
        ammup.measure_updates(net, torch.ones(2, 4), part="output")


def test_fixed_rows_are_summed_and_drawn_rows_averaged() -> None:
    fixed = [np.array([1.0, 2.0, 1e-3, 5.0])]
    drawn = [np.array([2.0, 0.0, 1e-2, 1.0]), np.array([4.0, 2.0, 0.0, 3.0])]
    found = combined_moments(("a", "b"), ["w"], fixed, drawn)
    np.testing.assert_allclose(found.S, [4.0, 3.0])
    assert found.S_bar == 3.5
    assert found.lr_star == pytest.approx(3.5**-0.5)
    assert found.gradient_squares == {"w": 7.0}
    assert found.error == 1e-2
    assert found.S_bar_se == pytest.approx(np.std([1.0, 3.0], ddof=1) / np.sqrt(2))


def test_lr_star_is_infinite_if_no_unit_moves() -> None:
    assert combined_moments(("a",), [], [np.zeros(2)], []).lr_star == float("inf")
