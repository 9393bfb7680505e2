"""The signal and its growth with the weights, compared with closed forms and with hooks."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from user_resnet import post_activation_resnet

import ammup
from ammup.measurement.signal import signal_squares, weight_gains
from ammup.measurement.specification import MeasurementSpec
from ammup.transfer.growth import exponential_factor

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
SPEC = MeasurementSpec(inputs=IMAGES)


@pytest.mark.parametrize("depth", [2, 5])
def test_doubled_weights_multiply_the_outputs_of_a_plain_net_by_two_for_each_layer(depth: int) -> None:
    net = partial(ammup.cnn, width=8)
    assert weight_gains(net, [depth], SPEC, 0)[depth] == pytest.approx(2.0 ** (depth + 1), rel=1e-5)


def test_normalisation_leaves_only_the_factor_of_the_readout() -> None:
    gains = weight_gains(partial(post_activation_resnet, widths=(4, 8, 16)), [1, 2], SPEC, 0)
    assert all(1.8 < gain < 2.2 for gain in gains.values())


def test_the_signal_is_the_mean_square_of_each_units_output() -> None:
    net = ammup.cnn(3, width=8, seed=0)
    expected = []
    for layer in net.layers:
        layer.register_forward_hook(
            lambda _module, _inputs, output: expected.append(float(output.detach().square().mean()))
        )
    net(IMAGES)
    assert signal_squares(partial(ammup.cnn, width=8), [3], SPEC, 0)[3] == pytest.approx(expected, rel=1e-5)


def test_a_missing_kernel_cardinality_makes_the_signal_grow_by_nine_for_each_layer() -> None:
    def wrong(depth: int, seed: int = 0) -> nn.Module:
        net = ammup.cnn(depth, width=64, seed=seed)
        with torch.no_grad():
            for name, weight in net.named_parameters():
                weight.mul_(3.0 if name.startswith("layers") else 1.0)
        return net

    law = ammup.depth_exponent(wrong, [2, 6], inputs=IMAGES, loss="mse", seeds=2)
    factor = exponential_factor(law.signal_squares[6])
    assert factor is not None
    assert np.log(factor) / 5 == pytest.approx(np.log(9), rel=0.15)
    (advice,) = ammup.transfer_table(0.1, 2, 6, measured=law).attrs["recommendations"]
    assert advice["rule"] is None
    assert exponential_factor(ammup.depth_exponent(ammup.cnn, [2, 6], inputs=IMAGES, seeds=2).signal_squares[6]) is None
