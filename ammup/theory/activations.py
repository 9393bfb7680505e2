"""Gaussian expectations of activations, by quadrature, and the variance rules that follow from them."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.special import ndtr

from ammup.architecture.architecture import GAINS, Activation, Function
from ammup.arrays import Array
from ammup.errors import check_known

_TERMS = 128
CLOSED_FORMS = ("relu", "linear")  # the activations without quadrature


def closed_slope(activation: Activation, scale: Array) -> Array:
    """E φ'(z_p), which is also E φ'(z_p)², of ReLU or the identity; ``scale`` is positive where z_p varies."""
    return np.where(scale > 0, 0.5, 0.0) if activation == "relu" else np.ones_like(scale)


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

    Composite Gauss-Legendre quadrature on [-12, 12] with panel edges at every multiple of 0.02. It is exact up to
    rounding for functions that are smooth except for kinks and jumps at these edges (ReLU, hard-swish, ReLU6). A global
    rule such as Gauss-Hermite is not.
    """
    nodes, weights = np.polynomial.legendre.leggauss(8)
    edges = np.arange(-600, 601) / 50.0
    half = np.diff(edges)[:, None] / 2
    middle = ((edges[:-1] + edges[1:]) / 2)[:, None]
    u = middle + half * nodes
    w = half * weights * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    return u.ravel(), w.ravel()


def moments_of(phi: Function, derivative: Function, variance: float = 1.0) -> ActivationMoments:
    """Gaussian moments of an activation, given as functions φ and φ' on arrays."""
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


def activation_functions(activation: Activation) -> tuple[Function, Function]:
    """The functions φ and φ' of a named activation; a pair of functions is returned unchanged.

    Raises:
        InputError: the name is unknown.
    """
    if isinstance(activation, tuple):
        return activation
    check_known("activation", activation, ACTIVATIONS)
    return ACTIVATIONS[activation]


@lru_cache(maxsize=256)
def activation_moments(activation: Activation, variance: float = 1.0) -> ActivationMoments:
    """Gaussian moments of an activation at input variance ``variance``."""
    return moments_of(*activation_functions(activation), variance)


def variance_gain(moments: ActivationMoments, gain: str) -> float:
    """The factor in Var[W] = factor / fan_in of a weight layer after an activation, by the named rule.

    The rule "forward", 1/E φ², preserves the second moment of the pre-activations. The rule "derivative", 1/E φ'², is
    the gating factor 1/q of the paper (section 2.3). The rule "paper" is that of appendix D.1 for GELU: √2 times the He
    factor 2. For ReLU and linear units all three rules give the same factor.
    """
    check_known("gain", gain, GAINS)
    forward, derivative = 1 / moments.second, 1 / moments.derivative_second
    if gain == "paper":
        homogeneous = np.isclose(forward, derivative, rtol=1e-9)
        return forward if homogeneous else 2 * float(np.sqrt(2))
    return forward if gain == "forward" else derivative


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Expectations of an activation φ and of φ' at centred Gaussians z_p.

    Attributes:
        activation: φ.
        scale: the standard deviations of the z_p, shape (N,).
    """

    activation: Activation
    scale: Array

    @cached_property
    def slope(self) -> Array:
        """E φ'(z_p), shape (N,)."""
        if self.activation in CLOSED_FORMS:
            return self.square
        return np.asarray(self._expand("slope")[0])

    @cached_property
    def square(self) -> Array:
        """E φ'(z_p)², shape (N,)."""
        if self.activation in CLOSED_FORMS:
            return closed_slope(self.activation, self.scale)
        return np.asarray(self._expand("square")[0])

    def value_pairs(self, covariance: Array) -> Array:
        """E φ(z_p) φ(z_q), shape (N, N), where ``covariance`` (N, N) is E z_p z_q."""
        return self._pairs("value", self, "value", covariance)

    def slope_pairs(self, covariance: Array) -> Array:
        """E φ'(z_p) φ'(z_q), shape (N, N), where ``covariance`` is E z_p z_q."""
        return self._pairs("slope", self, "slope", covariance)

    def square_pairs(self, other: "Gaussians", covariance: Array) -> Array:
        """E φ'(z_p)² φ'(y_q)², where ``other`` are the y and ``covariance`` is E z_p y_q."""
        return self._pairs("square", other, "square", covariance)

    def square_slope_covariance(self, other: "Gaussians", covariance: Array) -> Array:
        """Cov(φ'(z_p)², φ'(y_q)), where ``other`` are the y and ``covariance`` is E z_p y_q."""
        return self._pairs("square", other, "slope", covariance) - np.outer(self.square, other.slope)

    def _pairs(self, f: str, other: "Gaussians", g: str, covariance: Array) -> Array:
        """E f(z_p) g(y_q) of the functions "value", "slope" or "square"; in closed form for ReLU and linear units."""
        size = np.outer(self.scale, other.scale)
        ratio = np.divide(covariance, size, out=np.zeros_like(size), where=size > 0)
        correlation = np.clip(ratio, -1, 1)
        if other is self:  # arccos and sin turn a rounding error of a correlation of 1 into its square root
            np.fill_diagonal(correlation, self.scale > 0)
        if self.activation == "relu":
            angle = np.arccos(correlation)
            both_positive = (np.pi - angle) / (2 * np.pi)
            value = size * (np.sin(angle) / (2 * np.pi) + both_positive * correlation)
            return np.asarray(value if f == "value" else both_positive)
        if self.activation == "linear":
            return covariance if f == "value" else np.ones_like(size)
        return self._smooth_pairs(f, other, g, correlation)

    def _smooth_pairs(self, f: str, other: "Gaussians", g: str, correlation: Array) -> Array:
        """E f(z_p) g(y_q) = Σ_k ρ_pq^k a_k(p) b_k(q), with a_k(p) = E h_k(u) f(σ_p u) (Mehler's formula).

        The series is accurate for smooth f and g, whose coefficients decrease geometrically. Where z_p and y_q are the
        same Gaussian, the product f g is integrated directly.
        """
        total, power = np.zeros_like(correlation), np.ones_like(correlation)
        for a, b in zip(self._expand(f), other._expand(g), strict=True):
            total += power * np.outer(a, b)
            power *= correlation
        _, w = gaussian_quadrature()
        same = (correlation > 1 - 1e-12) & np.isclose(self.scale[:, None], other.scale, rtol=1e-9, atol=0)
        moment = (self._values(f) * self._values(g)) @ w
        return np.where(same, moment[:, None], total)

    def _expand(self, f: str) -> Array:
        """Hermite coefficients of f at every Gaussian, shape (terms, N)."""
        if f not in self._expansions:
            self._expansions[f] = _hermite_functions() @ self._values(f).T
        return self._expansions[f]

    def _values(self, f: str) -> Array:
        """The function "value" (φ), "slope" (φ') or "square" (φ'²) at the quadrature nodes, shape (N, nodes)."""
        phi, derivative = activation_functions(self.activation)
        scale, inverse = np.unique(self.scale, return_inverse=True)
        z = scale[inverse][:, None] * gaussian_quadrature()[0]
        if f == "value":
            return phi(z)
        return derivative(z) if f == "slope" else derivative(z) ** 2

    @cached_property
    def _expansions(self) -> dict[str, Array]:
        return {}


@lru_cache(maxsize=1)
def _hermite_functions() -> Array:
    """Normalized Hermite polynomials h_k at the quadrature nodes, times the weights: shape (k, nodes)."""
    u, w = gaussian_quadrature()
    h = [np.ones_like(u), u]
    for k in range(1, _TERMS - 1):
        h.append((u * h[k] - np.sqrt(k) * h[k - 1]) / np.sqrt(k + 1))
    return np.stack(h) * w
