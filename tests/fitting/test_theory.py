"""The finite-depth law against closed forms, a naive double sum and random matrices."""

import numpy as np
import pytest
import torch

from ammup import InputError, finite_depth_law, fit_power_law
from ammup.fitting.theory import (
    activation_moments,
    derivative_overlaps,
    gaussian_quadrature,
    moments_of,
    variance_gain,
)


def test_quadrature_is_exact_for_gaussian_moments() -> None:
    u, w = gaussian_quadrature()
    assert [float(w @ u**k) for k in (0, 2, 4, 6, 8)] == pytest.approx([1, 1, 3, 15, 105], rel=1e-12)


def test_moments_of_named_activations() -> None:
    relu, linear, gelu = (activation_moments(name) for name in ("relu", "linear", "gelu"))
    assert (relu.second, relu.derivative_second, relu.growth) == pytest.approx((0.5, 0.5, 2.0), rel=1e-12)
    assert (linear.second, linear.derivative_second, linear.growth) == pytest.approx((1, 1, 1), rel=1e-12)
    # x² Φ(x)² integrates to this by parts.
    assert gelu.second == pytest.approx(1 / 3 + 1 / (2 * np.pi * np.sqrt(3)), rel=1e-12)


def test_moments_scale_with_the_input_variance() -> None:
    assert activation_moments("relu", 4.0).second == pytest.approx(2.0)
    assert activation_moments("relu", 4.0).derivative_second == pytest.approx(0.5)


def test_quadrature_sees_kinks_away_from_zero() -> None:
    clipped = moments_of(lambda z: np.clip(z, 0, 6), lambda z: ((z > 0) & (z < 6)).astype(float))
    assert clipped.derivative_fourth == pytest.approx(0.5, abs=1e-8)


@pytest.mark.parametrize(
    ("activation", "gain", "expected"),
    [
        ("relu", "forward", 2.0),
        ("relu", "derivative", 2.0),
        ("relu", "paper", 2.0),
        ("linear", "paper", 1.0),
        ("gelu", "forward", 1 / 0.42522148257),
        ("gelu", "derivative", 1 / 0.45585086565),
        ("gelu", "paper", 2 * 2**0.5),
    ],
)
def test_variance_gain(activation: str, gain: str, expected: float) -> None:
    assert variance_gain(activation_moments(activation), gain) == pytest.approx(expected, rel=1e-9)


def _plain_relu_double_sum(depth: int) -> float:
    """The law as a sum over pairs of layers: a_1 = 1, a_h = 1/2, every gain 1, growth 2; no recursion."""
    a = np.array([1.0] + [0.5] * (depth - 1))
    h = np.arange(1, depth + 1)
    pairs = np.outer(a, a)
    S = [
        sum(pairs[i, j] * (1 + 2 * (unit - max(h[i], h[j]))) for i in range(unit) for j in range(unit))
        for unit in range(1, depth + 1)
    ]
    return float(np.mean(S) ** -0.5)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 16, 64])
def test_plain_law_is_the_double_sum_over_layers(depth: int) -> None:
    assert finite_depth_law([depth], family="mlp") == pytest.approx([_plain_relu_double_sum(depth)], rel=1e-12)


def test_plain_law_tends_to_the_paper_exponent_from_above() -> None:
    slopes = [fit_power_law(d, finite_depth_law(d, family="mlp")).slope for d in ([2, 4], [32, 64], [1024, 2048])]
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[-1] == pytest.approx(-1.5, abs=0.01)


def test_residual_law_tends_to_minus_one() -> None:
    assert fit_power_law([256, 512], finite_depth_law([256, 512], family="resnet")).slope == pytest.approx(-1, abs=0.01)


def test_residual_law_of_a_linear_net_is_the_scalar_recursion() -> None:
    """Without gates Φ is one number and the recursion is a Wishart computation (growth 1)."""
    depth, c = 8, 1.5
    x, alpha, tau, power, S = c / depth, 1.0, 1.0, 1.0, []
    for block in range(1, depth + 1):
        tau = (1 + x) ** 2 * tau + (2 * x + x**2) * alpha**2 + 2 * power * (1 + x) * alpha + power**2
        alpha, power = (1 + x) * alpha + power, (1 + x) * power
        S.append(tau * (1 + x) ** (depth - block))
    law = finite_depth_law([depth], family="resnet", activation="linear", c=c)
    assert law == pytest.approx([np.mean(S) ** -0.5], rel=1e-12)


def test_gate_overlaps_of_relu_and_gelu_agree_with_sampling() -> None:
    variances = (1.0, 1.5, 4.0)
    rng = np.random.default_rng(0)
    steps = np.sqrt(np.diff([0.0, *variances]))[:, None] * rng.standard_normal((3, 400_000))
    z = torch.tensor(np.cumsum(steps, axis=0), requires_grad=True)
    for name, phi in (("relu", torch.relu), ("gelu", torch.nn.functional.gelu)):
        (slope,) = torch.autograd.grad(phi(z).sum(), z)
        gates = slope.numpy() ** 2
        sampled = gates @ gates.T / gates.shape[1]
        # 400,000 samples: a standard error of at most 0.0015 on each entry.
        np.testing.assert_allclose(derivative_overlaps(name, variances), sampled, atol=0.007)


def test_constants_scale_the_law_as_the_derivation_says() -> None:
    base = {"family": "mlp", "width": 512, "in_features": 512, "out_features": 512}
    law = finite_depth_law([4], **base)
    assert finite_depth_law([4], **base, label_variance=4.0) == pytest.approx(law / 2)
    assert finite_depth_law([4], **{**base, "out_features": 128}) == pytest.approx(law / 2)
    # A mean-field readout has 1/(2n) of the He readout's variance.
    assert finite_depth_law([4], **base, readout="mean-field") == pytest.approx(law * np.sqrt(2 * 512))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "cnn"}, "no closed law"),
        ({"family": "mlp", "activation": "tanh"}, "allowed: relu, gelu, linear"),
        ({"family": "mlp", "gain": "he"}, "gain='he'"),
        ({"family": "mlp", "readout": "zero"}, "readout='zero'"),
        ({"family": "mlp", "readout": "mean-field"}, "give width="),
        ({"family": "mlp", "width": 8}, "or neither"),
        ({"family": "mlp", "in_features": 8}, "needs width="),
    ],
)
def test_unusable_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        finite_depth_law([2, 4], **arguments)
