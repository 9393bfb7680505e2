"""Means over layers, and the lower bound that the paper states for the arithmetic mean (appendix A)."""

import numpy as np

from ammup.arrays import Array


def arithmetic_mean(S: Array) -> float:
    """(1/L) Σ S_l, the paper's S̄."""
    return float(np.mean(S))


def geometric_mean(S: Array) -> float:
    """(Π S_l)^(1/L) of positive values."""
    return float(np.exp(np.mean(np.log(S))))


def harmonic_mean(S: Array) -> float:
    """((1/L) Σ 1/S_l)^(-1) of positive values."""
    return float(1 / np.mean(1 / np.asarray(S)))


def power_mean(S: Array, order: float) -> float:
    """((1/L) Σ S_l^order)^(1/order) of positive values; order must not be 0."""
    return float(np.mean(np.asarray(S) ** order) ** (1 / order))


def weighted_harmonic_bound(S: Array, weights: Array) -> float:
    """L²/Σ(w_l/S_l) for weights that sum to L. The paper's (A3) states that it is at most S̄, which is false."""
    return float(len(S) ** 2 / np.sum(weights / S))
