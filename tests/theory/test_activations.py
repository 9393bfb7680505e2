"""Gaussian expectations against closed forms and sampling."""

import numpy as np
import pytest
from scipy.special import erf

from ammup import InputError
from ammup.theory.activations import (
    Activation,
    Gaussians,
    activation_functions,
    activation_moments,
    gaussian_quadrature,
    moments_of,
    variance_gain,
)

TANH = (np.tanh, lambda z: 1 - np.tanh(z) ** 2)
# Written out here, with the error function in place of the package's normal distribution.
GELU = (
    lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
    lambda z: (1 + erf(z / np.sqrt(2))) / 2 + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi),
)
ALL = pytest.mark.parametrize("activation", ["relu", "gelu", "linear", TANH], ids=["relu", "gelu", "linear", "tanh"])
# Of three x and two y; the last x is nearly the first y.
COVARIANCE = np.array(
    [
        [1.0, 0.4, -0.5, -0.6, 0.2],
        [0.4, 2.0, 0.1, 0.1, -0.9],
        [-0.5, 0.1, 0.5, 0.68, 0.0],
        [-0.6, 0.1, 0.68, 1.0, 0.1],
        [0.2, -0.9, 0.0, 0.1, 1.5],
    ]
)


def _sets(activation: Activation) -> tuple[Gaussians, Gaussians]:
    scale = np.sqrt(np.diag(COVARIANCE))
    return Gaussians(activation, scale[:3]), Gaussians(activation, scale[3:])


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


# 400,000 samples: standard errors of at most 0.0015 on the slopes' moments (their values lie in [0, 1.3]), and of 0.2 %
# of the largest E φφ, which is 2.
@ALL
def test_pairs_agree_with_sampling(activation: Activation) -> None:
    n = 400_000
    z = np.linalg.cholesky(COVARIANCE) @ np.random.default_rng(0).standard_normal((5, n))
    value, slope = (f(z) for f in activation_functions(activation))
    square, (x, y), cross = slope**2, _sets(activation), COVARIANCE[:3, 3:]
    np.testing.assert_allclose(x.value_pairs(COVARIANCE[:3, :3]), value[:3] @ value[:3].T / n, atol=0.012)
    np.testing.assert_allclose(x.slope_pairs(COVARIANCE[:3, :3]), slope[:3] @ slope[:3].T / n, atol=0.006)
    np.testing.assert_allclose(x.square_pairs(y, cross), square[:3] @ square[3:].T / n, atol=0.006)
    np.testing.assert_allclose(
        x.square_slope_covariance(y, cross),
        square[:3] @ slope[3:].T / n - np.outer(square[:3].mean(axis=1), slope[3:].mean(axis=1)),
        atol=0.006,
    )
    np.testing.assert_allclose(y.slope, slope[3:].mean(axis=1), atol=0.006)
    np.testing.assert_allclose(y.square, square[3:].mean(axis=1), atol=0.006)


# GELU on its own scale and tanh on a smaller one: the series ends far below rounding.
@ALL
def test_equals_have_the_moments_of_one(activation: Activation) -> None:
    twice, variance = np.full(2, np.sqrt(0.8)), np.full((2, 2), 0.8)
    pair, one = Gaussians(activation, twice), activation_moments(activation, 0.8)
    np.testing.assert_allclose(pair.value_pairs(variance), one.second, rtol=1e-8)
    np.testing.assert_allclose(pair.slope_pairs(variance), one.derivative_second, rtol=1e-8)
    np.testing.assert_allclose(pair.square, one.derivative_second, rtol=1e-8)
    np.testing.assert_allclose(pair.square_pairs(pair, variance), one.derivative_fourth, rtol=1e-8)
    np.testing.assert_allclose(
        pair.square_pairs(Gaussians(activation, twice), variance), one.derivative_fourth, rtol=1e-8
    )


@ALL
def test_equals_of_large_variance_have_the_moments_of_one(activation: Activation) -> None:
    """Nearly a jump: the series alone would be 1 % off for GELU and far more for tanh."""
    pair, one = Gaussians(activation, np.full(2, 10.0)), activation_moments(activation, 100.0)
    np.testing.assert_allclose(pair.slope_pairs(np.full((2, 2), 100.0)), one.derivative_second, rtol=1e-7)
    np.testing.assert_allclose(pair.square_pairs(pair, np.full((2, 2), 100.0)), one.derivative_fourth, rtol=1e-7)


@ALL
def test_near_equals_have_almost_the_moments_of_one(activation: Activation) -> None:
    """The series and the moment that takes its place where it converges badly meet: at 1 - ρ = 1e-10 they are one."""
    near = np.array([[1.0, 1 - 1e-10], [1 - 1e-10, 1.0]])
    pair = Gaussians(activation, np.ones(2))
    for values in (pair.value_pairs(near), pair.slope_pairs(near), pair.square_pairs(pair, near)):
        # A gate that jumps closes its pair as √(1 - ρ): arccos(1 - 1e-10)/2π = 2.3e-6.
        assert values[0, 1] == pytest.approx(values[0, 0], abs=3e-6 if activation == "relu" else 1e-8)


@ALL
def test_independent_gaussians_have_products_of_means(activation: Activation) -> None:
    x, y = _sets(activation)
    np.testing.assert_allclose(x.square_pairs(y, np.zeros((3, 2))), np.outer(x.square, y.square), rtol=1e-9)
    np.testing.assert_allclose(x.square_slope_covariance(y, np.zeros((3, 2))), 0, atol=1e-12)
    np.testing.assert_allclose(x.slope_pairs(np.diag(x.scale**2))[0, 1:], x.slope[0] * x.slope[1:], rtol=1e-9)


def test_gelu_as_a_pair_is_gelu_by_name() -> None:
    (x, y), (named_x, named_y), cross = _sets(GELU), _sets("gelu"), COVARIANCE[:3, 3:]
    np.testing.assert_allclose(x.value_pairs(COVARIANCE[:3, :3]), named_x.value_pairs(COVARIANCE[:3, :3]), rtol=1e-10)
    np.testing.assert_allclose(x.slope_pairs(COVARIANCE[:3, :3]), named_x.slope_pairs(COVARIANCE[:3, :3]), rtol=1e-10)
    np.testing.assert_allclose(x.square_pairs(y, cross), named_x.square_pairs(named_y, cross), rtol=1e-10)
    assert activation_moments(GELU).growth == pytest.approx(activation_moments("gelu").growth, rel=1e-10)


@ALL
def test_a_position_that_is_always_zero_is_finite(activation: Activation) -> None:
    some, covariance = Gaussians(activation, np.array([1.0, 0.0])), np.diag([1.0, 0.0])
    for values in (
        some.value_pairs(covariance),
        some.slope_pairs(covariance),
        some.square_pairs(some, covariance),
        some.square_slope_covariance(some, covariance),
        some.slope,
        some.square,
    ):
        assert np.isfinite(values).all()
    assert some.value_pairs(covariance)[1].tolist() == [0.0, 0.0]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="unknown activation='swish'; expected one of: relu, gelu, linear"):
        activation_moments("swish")
    with pytest.raises(InputError, match="unknown gain='xavier'; expected one of: forward, derivative, paper"):
        variance_gain(activation_moments("relu"), "xavier")


def test_equals_at_other_places_of_the_two_sets_have_the_moments_of_one() -> None:
    x, y = Gaussians("gelu", np.array([1.0, 2.0])), Gaussians("gelu", np.array([2.0, 1.0]))
    expected = [activation_moments("gelu", s).derivative_fourth for s in (1.0, 4.0)]
    found = x.square_pairs(y, np.array([[0.0, 1.0], [4.0, 0.0]]))
    assert [found[0, 1], found[1, 0]] == pytest.approx(expected, rel=1e-8)


def test_equals_in_sets_of_different_sizes_are_finite() -> None:
    pairs = Gaussians("gelu", np.ones(1)).square_pairs(Gaussians("gelu", np.array([1.0, 2.0])), np.ones((1, 2)))
    assert pairs[0, 0] == pytest.approx(activation_moments("gelu").derivative_fourth, rel=1e-8)
