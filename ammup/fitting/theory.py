"""The finite-depth law: what η*(L) is at the depths that are measured, before its limit is reached.

For one sample, dense units and the wide limit, the label part of the one-step change is, with weights independent of
each other and labels of mean 0 and variance σ_y²,

    S_l = η² σ_y² (1/M) tr(A_l P_lᵀ P_l A_l),        A_l = J_l J_lᵀ / n,

where J_l is the Jacobian of depth unit l (width n) with respect to all weights and P_l that of the M outputs with
respect to unit l. Write α for tr(A_l)/n, a for ‖x‖²/n of the vector x that multiplies the next weights, e = φ'(z)² for
the gates, q = E e, p = E e².

Plain units, z ← W φ(z), χ = n Var[W] q. Each layer's gates are independent of the Jacobians before it (a Wishart
computation), so that two scalars suffice, α and τ = tr(A²)/n:

    α' = χ α + a,    τ' = χ² (τ + (p/q²) α²) + 2 a χ α + a²,    S_l = η² σ_y² (n/M) β_l τ_l,

β_l the mean gain from unit l to an output. For ReLU and He initialization (χ = 1, p/q² = 2, a = 1/2) τ is a cubic in
l, hence L^(-3/2) in the limit (paper, Theorem 1).

Residual units, z ← z + W φ(z), v = n Var[W] = c/K. Here a unit keeps most of its gates from block to block, and the
rows of A whose gates were open are larger, so A² must be weighted by every gate it will meet. With
Φ[f, g] = (1/n) Σ_ij f_i A_ij² g_j for f, g among 1 and the gates e_0 … e_K,

    Φ_l[f, g] = α_l² E fg + Ω_l[f, g],
    Ω_l[f, g] = Ω[f, g] + v (E f Φ[g, e] + E g Φ[f, e]) + v² E f E g Φ[e, e]    (Ω, Φ and e at block l - 1),
    α_l = (1 + v q) α_(l-1) + a,
    S_l = η² σ_y² (n/M) n Var[W_out] (Φ_l[1, e_K] + Σ_(l<k≤K) v b_k Φ_l[1, e_(k-1)]),

where b_k is the mean gain from block k to the readout, over n Var[W_out]. E e_k e_m is a two-point Gaussian
expectation at covariance Var z_min(k, m), since later blocks add independent increments. α grows like l and v = c/K
keeps Ω at the order of α², so that S_l ∝ l² and η* ∝ L^(-1), not L^(-3/2). Were the gates of different blocks
independent, τ would do here too, and η* would come out 5 to 6 % larger (c = 2); benchmarks/dense_law.py shows both
beside the measurement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from ammup.errors import InputError

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

GAINS = ("forward", "derivative", "paper")
READOUTS = ("mean-field", "he")


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
    if activation not in ACTIVATIONS:
        raise InputError(f"activation={activation!r} is not known; allowed: {', '.join(ACTIVATIONS)}")
    return moments_of(*ACTIVATIONS[activation], variance)


def variance_gain(moments: ActivationMoments, gain: str) -> float:
    """The factor of Var[W] = factor / fan_in behind an activation, by the named rule.

    "forward" 1/E φ² keeps the second moment of the pre-activations; "derivative" 1/E φ'² is the paper's gating factor
    1/q (section 2.3); "paper" is its appendix D.1, the He variance 2 times √2, meant for GELU. For ReLU and linear
    units the first two are the same, and "paper" is the same as them.
    """
    if gain not in GAINS:
        raise InputError(f"gain={gain!r} is not known; allowed: {', '.join(GAINS)}")
    forward, derivative = 1 / moments.second, 1 / moments.derivative_second
    if gain == "paper":
        homogeneous = np.isclose(forward, derivative, rtol=1e-9)
        return forward if homogeneous else 2 * float(np.sqrt(2))
    return forward if gain == "forward" else derivative


def checked_depths(depths: Sequence[int] | ArrayLike, *, at_least: int = 1) -> tuple[int, ...]:
    """The depths as a tuple of distinct positive integers."""
    values = np.atleast_1d(np.asarray(depths))
    if values.ndim != 1 or values.size < at_least:
        raise InputError(f"depths={depths!r} has {values.size} entries; give at least {at_least}")
    if not np.issubdtype(values.dtype, np.number) or np.any(values != np.floor(values)) or np.any(values < 1):
        raise InputError(f"depths={depths!r} must be whole numbers of at least 1")
    whole = tuple(int(v) for v in values)
    if len(set(whole)) < len(whole):
        raise InputError(f"depths={list(whole)} holds a depth twice; give each once")
    return whole


@dataclass(frozen=True, kw_only=True)
class DenseNet:
    """What the law of a dense net depends on, but for its depth and its sample; see :func:`finite_depth_law`.

    Raises:
        InputError: an unknown name, or sizes of which only some are given.
    """

    family: str
    activation: str = "relu"
    gain: str = "forward"
    c: float = 2.0
    readout: str = "he"
    width: int | None = None
    in_features: int | None = None
    out_features: int | None = None

    def __post_init__(self) -> None:
        if self.family not in ("mlp", "resnet"):
            raise InputError(f"family={self.family!r} has no closed law yet; allowed: mlp, resnet")
        if self.readout not in READOUTS:
            raise InputError(f"readout={self.readout!r} is not known; allowed: {', '.join(READOUTS)}")
        activation_moments(self.activation)
        if self.in_features is not None and self.width is None:
            raise InputError("in_features= needs width= as well: the law depends on their ratio")
        if self.readout == "mean-field" and self.width is None:
            raise InputError("readout='mean-field' has variance 1/width²: give width= as well")
        if self.readout == "he" and (self.width is None) != (self.out_features is None):
            raise InputError("give both width= and out_features=, or neither (then their ratio is 1)")

    @property
    def factor(self) -> float:
        """The factor n Var[W] of a plain layer behind an activation."""
        return variance_gain(activation_moments(self.activation), self.gain)

    @property
    def fan_ratio(self) -> float:
        """Inputs over width, d/n; 1 where they are not given."""
        return 1.0 if self.in_features is None or self.width is None else self.in_features / self.width

    @property
    def output_factor(self) -> float:
        """Width over outputs, n/M, times the readout's n Var[W]."""
        if self.width is None:
            return self.factor
        if self.readout == "mean-field":
            return 1 / (self.out_features or self.width)
        return self.factor * self.width / (self.out_features or self.width)

    def lr_star(self, depth: int, *, input_power: float = 1.0, label_variance: float = 1.0) -> float:
        """η* of this net at one depth."""
        S = (_plain_moments if self.family == "mlp" else _residual_moments)(depth, self, input_power)
        return float((label_variance * S.mean()) ** -0.5)


def _plain_moments(depth: int, net: DenseNet, power: float) -> Array:
    """S_l at η = σ_y = 1 for l = 1..depth; the first layer has variance 1/fan_in, as its input passed no activation."""
    alpha = net.fan_ratio * power
    taus, gains = [alpha**2], [1.0]
    for _ in range(depth - 1):
        m = activation_moments(net.activation, power)
        a, gain = m.second, net.factor * m.derivative_second
        taus.append(gain**2 * (taus[-1] + m.growth * alpha**2) + 2 * a * gain * alpha + a**2)
        gains.append(gain)
        alpha = gain * alpha + a
        power = net.factor * m.second
    to_last = np.cumprod([*gains[1:], 1.0][::-1])[::-1]  # the gain from unit l to the last unit
    readout = net.output_factor * activation_moments(net.activation, power).derivative_second
    return np.asarray(readout * to_last * taus)


def _residual_moments(depth: int, net: DenseNet, power: float) -> Array:
    """S_l at η = σ_y = 1 for l = 1..depth blocks behind a trained stem of variance 1/fan_in; symbols as at the top."""
    v = net.c / depth
    powers = [power]
    for _ in range(depth):
        powers.append(powers[-1] + v * activation_moments(net.activation, powers[-1]).second)
    moments = [activation_moments(net.activation, power) for power in powers]
    q = np.array([m.derivative_second for m in moments])
    one = depth + 1  # index of the function 1 behind the gates e_0 … e_K
    mean = np.append(q, 1.0)
    overlap = np.outer(mean, mean)
    overlap[:one, :one] = derivative_overlaps(net.activation, tuple(powers))
    to_readout = q[depth] * np.cumprod(np.append(1 + v * q[:depth], 1.0)[::-1])[::-1]  # b_0 … b_K
    alpha, omega, S = net.fan_ratio * power, np.zeros_like(overlap), []
    for block in range(1, depth + 1):
        phi = alpha**2 * overlap + omega
        gated = np.outer(mean, phi[block - 1])
        omega = omega + v * (gated + gated.T) + v**2 * np.outer(mean, mean) * phi[block - 1, block - 1]
        alpha = (1 + v * q[block - 1]) * alpha + moments[block - 1].second
        weighted = (alpha**2 * overlap + omega)[one]
        S.append(weighted[depth] + v * to_readout[block + 1 :] @ weighted[block:depth])
    return net.output_factor * np.asarray(S)


@lru_cache(maxsize=64)
def derivative_overlaps(activation: str, variances: tuple[float, ...]) -> Array:
    """E φ'(z_k)² φ'(z_m)² for Gaussians of the given variances with covariance min(Var z_k, Var z_m)."""
    v = np.asarray(variances)
    low, high = np.minimum.outer(v, v), np.maximum.outer(v, v)
    if activation == "relu":
        return np.asarray((np.pi - np.arccos(np.sqrt(low / high))) / (2 * np.pi))
    _, derivative = ACTIVATIONS[activation]
    u, w = np.polynomial.hermite_e.hermegauss(48)
    w = w / w.sum()

    def row(least: Array, extra: Array) -> Array:
        common = np.sqrt(least)[:, None, None] * u[:, None]
        increment = np.sqrt(extra)[:, None, None] * u
        return np.asarray(np.einsum("mij,i,j->m", (derivative(common) * derivative(common + increment)) ** 2, w, w))

    return np.stack([row(*pair) for pair in zip(low, high - low, strict=True)])


def finite_depth_law(
    depths: Sequence[int] | ArrayLike,
    *,
    family: str,
    activation: str = "relu",
    gain: str = "forward",
    c: float = 2.0,
    readout: str = "he",
    width: int | None = None,
    in_features: int | None = None,
    out_features: int | None = None,
    input_power: float = 1.0,
    label_variance: float = 1.0,
) -> Array:
    """η* at each depth, with its constants: one sample, mse, label part, dense units, wide limit (module docstring).

    Args:
        depths: depths L, whole numbers of at least 1.
        family: "mlp" (plain layers) or "resnet" (one weight layer in a block, Var[W] = c/(K n), trained stem).
        activation: "relu", "gelu" or "linear".
        gain: the variance rule of plain layers behind an activation, see :func:`variance_gain`.
        c: the residual variance constant of the paper's section 3.2.
        readout: "he" (variance like a plain layer) or "mean-field" (1/width²; needs ``width``).
        width: n. Where it and ``in_features`` or ``out_features`` are not given, their ratio is 1.
        in_features: d, the number of input features.
        out_features: M, the number of outputs.
        input_power: ‖x‖²/d of the sample.
        label_variance: σ_y².

    Returns:
        η*(L) = S̄(η=1)^(-1/2), one value per depth.

    Raises:
        InputError: an unknown name or an unusable depth.

    Example:
        >>> from ammup import finite_depth_law
        >>> finite_depth_law([2, 4, 8, 16], family="mlp").round(4).tolist()
        [0.6172, 0.331, 0.1541, 0.064]
        >>> finite_depth_law([4, 64], family="resnet", c=2.0).round(4).tolist()
        [0.1703, 0.0164]
    """
    net = DenseNet(
        family=family,
        activation=activation,
        gain=gain,
        c=c,
        readout=readout,
        width=width,
        in_features=in_features,
        out_features=out_features,
    )
    return np.array(
        [net.lr_star(depth, input_power=input_power, label_variance=label_variance) for depth in checked_depths(depths)]
    )
