"""The finite-depth law of dense nets, plain and residual, in closed form.

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

from dataclasses import dataclass

import numpy as np

from ammup.errors import InputError, check_known
from ammup.fitting.activations import READOUTS, Array, activation_moments, pair_moments, variance_gain


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
            raise InputError(f"family={self.family!r} has no closed law yet; allowed: mlp, resnet, cnn")
        check_known("readout", self.readout, READOUTS)
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
    # Later blocks add independent increments: the covariance of two blocks is the variance of the earlier one.
    overlap[:one, :one] = pair_moments(net.activation, np.minimum.outer(powers, powers)).derivative_squared
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
