"""Standard errors and confidence intervals: Student's t, Welch-Satterthwaite degrees of freedom, the jackknife."""

from typing import TypeVar

import numpy as np
from scipy import special

from ammup.arrays import Array

Centre = TypeVar("Centre", float, Array)


def upper_probability(level: float) -> float:
    """The probability below the upper end of a two-sided interval of this confidence level: 0.975 for 0.95."""
    return (1 + level) / 2


def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t distribution: the normal quantile at df = ∞, NaN at df = 0."""
    if not df > 0:
        return float("nan")
    # The function of which stats.t.ppf consists: a hundredth of its time.
    return float(special.ndtri(probability) if np.isinf(df) else special.stdtrit(df, probability))


def t_interval(centre: Centre, error: Centre, *, df: float, probability: float) -> tuple[Centre, Centre]:
    """The (lower, upper) ends of Student's t interval.

    Args:
        centre: the estimate, or an array of them.
        error: its standard error, of the same shape.
        df: degrees of freedom of the standard error.
        probability: the probability below the upper end, :func:`upper_probability` of a confidence level.

    Example:
        >>> low, high = t_interval(2.0, 0.5, df=10, probability=upper_probability(0.95))
        >>> round(low, 3), round(high, 3)
        (0.886, 3.114)
    """
    half = t_quantile(probability, df) * error
    return centre - half, centre + half


def welch_df(variances: Array, df: Array, *, total: float) -> float:
    """Degrees of freedom of a sum of independent variance estimates, by Welch and Satterthwaite.

    Args:
        variances: the estimates.
        df: degrees of freedom of each.
        total: the sum of the estimates.

    Returns:
        total² / Σ (variance² / df); ∞ if no estimate with finite ``df`` contributes.
    """
    denominator = float(np.sum(variances**2 / df))
    return float(total**2 / denominator) if denominator > 0 else float("inf")


def jackknife_error(parts: Array) -> Array:
    """Jackknife standard error of a statistic, from its n leave-one-group-out values.

    Args:
        parts: these values, shape (n, …), n at least 2.

    Returns:
        Shape (…), with n - 1 degrees of freedom.
    """
    n = len(parts)
    sum_of_squares = np.sum((parts - parts.mean(axis=0)) ** 2, axis=0)
    return np.asarray(np.sqrt((n - 1) / n * sum_of_squares))
