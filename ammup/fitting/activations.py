"""Gaussian expectations of activations, by quadrature, and the variance rules made from them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from ammup.errors import check_known

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

GAINS = ("forward", "derivative", "paper")
READOUTS = ("mean-field", "he")
_TERMS = 128


@dataclass(frozen=True, kw_only=True)
class ActivationMoments:
    """Gaussian moments of an activation φ at input variance s: E φ(√s u)², E φ'(√s u)² and E φ'(√s u)⁴."""

    second: float
    derivative_second: float
    derivative_fourth: float

    @property
    def growth(self) -> float:
        """p/q² = E φ'⁴ / (E φ'²)², the growth rate of the second spectral moment (2 for ReLU, 1 if linear)."""
        return self.derivative_fourth / self.derivative_second**2


@lru_cache(maxsize=1)
def gaussian_quadrature() -> tuple[Array, Array]:
    """Nodes u and weights w with Σ w f(u) = E f(u), u ~ N(0, 1).

    Composite Gauss-Legendre on [-12, 12] with panel edges at every multiple of 0.02: exact to rounding for functions
    that are smooth but for kinks and jumps at such multiples (ReLU, hard-swish, ReLU6), as no global rule is.
    """
    nodes, weights = np.polynomial.legendre.leggauss(8)
    edges = np.arange(-600, 601) / 50.0
    half = np.diff(edges)[:, None] / 2
    u = ((edges[:-1] + edges[1:]) / 2)[:, None] + half * nodes
    w = half * weights * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    return u.ravel(), w.ravel()


def moments_of(phi: Function, derivative: Function, variance: float = 1.0) -> ActivationMoments:
    """Gaussian moments of any activation from its values and its derivative's on an array."""
    u, w = gaussian_quadrature()
    z = np.sqrt(variance) * u
    slope = derivative(z)
    return ActivationMoments(
        second=float(w @ phi(z) ** 2),
        derivative_second=float(w @ slope**2),
        derivative_fourth=float(w @ slope**4),
    )


def _gelu_derivative(z: Array) -> Array:
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(ndtr(z) + z * density)


ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(np.float64)),
    "gelu": (lambda z: np.asarray(z * ndtr(z)), _gelu_derivative),
    "linear": (lambda z: z, np.ones_like),
}


@lru_cache(maxsize=256)
def activation_moments(activation: str, variance: float = 1.0) -> ActivationMoments:
    """Gaussian moments of a named activation at input variance ``variance``."""
    check_known("activation", activation, ACTIVATIONS)
    return moments_of(*ACTIVATIONS[activation], variance)


def variance_gain(moments: ActivationMoments, gain: str) -> float:
    """The factor of Var[W] = factor / fan_in behind an activation, by the named rule.

    "forward" 1/E φ² keeps the second moment of the pre-activations; "derivative" 1/E φ'² is the paper's gating factor
    1/q (section 2.3); "paper" is its appendix D.1, the He variance 2 times √2, meant for GELU. For ReLU and linear
    units the first two are the same, and "paper" is the same as them.
    """
    check_known("gain", gain, GAINS)
    forward, derivative = 1 / moments.second, 1 / moments.derivative_second
    if gain == "paper":
        homogeneous = np.isclose(forward, derivative, rtol=1e-9)
        return forward if homogeneous else 2 * float(np.sqrt(2))
    return forward if gain == "forward" else derivative


@dataclass(frozen=True, kw_only=True)
class PairMoments:
    """Expectations over pairs of Gaussians: E φφ, E φ'φ' and E φ'²φ'², each shaped like the covariance."""

    value: Array
    derivative: Array
    derivative_squared: Array


def pair_moments(activation: str, covariance: Array) -> PairMoments:
    """Expectations over (z_p, z_q) for every pair of positions with the given covariance (N, N)."""
    scale = np.sqrt(np.diag(covariance))
    size = np.outer(scale, scale)
    correlation = np.clip(np.divide(covariance, size, out=np.zeros_like(size), where=size > 0), -1, 1)
    if activation == "linear":
        ones = np.ones_like(size)
        return PairMoments(value=covariance, derivative=ones, derivative_squared=ones)
    if activation == "relu":
        angle = np.arccos(correlation)
        open_both = (np.pi - angle) / (2 * np.pi)
        value = size * (np.sin(angle) / (2 * np.pi) + open_both * correlation)
        return PairMoments(value=value, derivative=open_both, derivative_squared=open_both)
    phi, derivative = ACTIVATIONS[activation]
    return PairMoments(
        value=_pair_expectation(phi, scale, correlation),
        derivative=_pair_expectation(derivative, scale, correlation),
        derivative_squared=_pair_expectation(lambda z: derivative(z) ** 2, scale, correlation),
    )


@lru_cache(maxsize=1)
def _hermite_functions() -> Array:
    """Normalized Hermite polynomials h_k at the quadrature nodes, times the weights: shape (k, nodes)."""
    u, w = gaussian_quadrature()
    h = [np.ones_like(u), u]
    for k in range(1, _TERMS - 1):
        h.append((u * h[k] - np.sqrt(k) * h[k - 1]) / np.sqrt(k + 1))
    return np.stack(h) * w


def _pair_expectation(f: Function, scale: Array, correlation: Array) -> Array:
    """E f(z_p) f(z_q) = Σ_k ρ_pq^k a_k(p) a_k(q), with a_k(p) = E h_k(u) f(σ_p u) (Mehler's formula).

    Meant for smooth f, whose coefficients fall geometrically; where ρ = 1 it is a moment of one Gaussian, without them.
    """
    u, w = gaussian_quadrature()
    values = f(scale[:, None] * u)
    total, power = np.zeros_like(correlation), np.ones_like(correlation)
    for coefficient in _hermite_functions() @ values.T:
        total += power * np.outer(coefficient, coefficient)
        power *= correlation
    same = (correlation > 1 - 1e-12) & np.isclose(scale[:, None], scale, rtol=1e-9, atol=0)
    return np.where(same, (values**2 @ w)[:, None], total)
