"""Confidence intervals of smooth functions of skewed means, such as a slope of log means of S̄ over weight draws.

S̄ of a weight draw is approximately log-normal, so a sample whose mean is too low by chance also has too small a
standard error: the studentized estimate T = (estimate - truth)/error is skewed, and Student's t misses the truth on one
side many times as often as stated. Here the quantiles of T in its longer tail are those of Student's t, transformed so
that T has the mean and the third cumulant that the Edgeworth expansion gives (Johnson 1978; Hall 1992, sections 2.4 and
3.10). The third moment of the rows is that of log-normal rows with the measured relative covariance, because the third
moment of few draws is too noisy. In the shorter tail the quantiles are those of Student's t, so the interval is never
shorter than Student's on either side.

Axes: D draw (row), C column.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ammup.arrays import Array
from ammup.stats.intervals import t_quantile

# The transformation is not defined for larger coefficients; they occur if a few draws dominate the mean.
LARGEST_QUADRATIC = 0.25
# The skewness of log-normal rows is limited to the measured skewness of the rows and this number of its standard errors
# (those of normal rows, √(6/n)), for rows that are less skewed than log-normal ones, such as squares of normal numbers.
SKEWNESS_ERRORS = 3.0
# Relative step of the numerical derivatives.
STEP = 1e-3


@dataclass(frozen=True, kw_only=True)
class Skewness:
    """The skewness of a studentized estimate: T is distributed as Z + quadratic · Z² + constant, to order 1/√n.

    Attributes:
        quadratic: coefficient of Z²; negative if the lower tail of T is the longer one.
        constant: shift of T.
    """

    quadratic: float = 0.0
    constant: float = 0.0

    def quantile(self, probability: float, df: float) -> float:
        """The quantile of T, that of Student's t without skewness; ±∞ and NaN as there."""
        return float(transformed(np.float64(t_quantile(probability, df)), self.quadratic, self.constant))

    def interval(self, centre: float, error: float, *, df: float, probability: float) -> tuple[float, float]:
        """The (lower, upper) ends of the confidence interval between two one-sided bounds.

        Args:
            centre: the estimate.
            error: its standard error.
            df: degrees of freedom of the standard error.
            probability: the probability of the truth below the upper end, and above the lower end.
        """
        upper, lower = self.quantile(probability, df), self.quantile(1 - probability, df)
        return centre - upper * error, centre - lower * error

    def with_draws(self, ratio: float) -> "Skewness":
        """The skewness with ``ratio`` times as many draws."""
        return Skewness(quadratic=self.quadratic / ratio**0.5, constant=self.constant / ratio**0.5)


SYMMETRIC = Skewness()


def transformed(z: Array | np.float64, quadratic: Array | float, constant: Array | float) -> Array | np.float64:
    """The quantiles of T with the same probabilities as the quantiles z of Student's t; arrays broadcast.

    In the longer tail, for z < 0 if q = quadratic < 0 and otherwise mirrored, it is (e^(2 q z) - 1)/(2 q) + constant,
    which is z + q z² + constant to second order. In the shorter tail and wherever that is nearer to 0 than z, it is z:
    the coefficients are estimated from the same draws, and shorter intervals would miss more often than stated.
    """
    q = np.clip(quadratic, -LARGEST_QUADRATIC, LARGEST_QUADRATIC)
    mirror = -np.sign(q)
    rate = 2 * np.maximum(np.abs(q), 1e-12)
    towards = np.minimum(mirror * z, 0)
    longer = -np.expm1(-rate * towards) / rate + mirror * constant
    return np.where(towards < 0, mirror * np.minimum(longer, towards), z)


def of_log_means(weights: Array, variances: Array, draws: ArrayLike) -> Skewness:
    """The skewness of Σ_C weight · log mean, with independent columns.

    Args:
        weights: of each column.
        variances: relative variance of each mean, that is (its standard error / mean)².
        draws: number of draws of each column.

    Example:
        >>> import numpy as np
        >>> skewness = of_log_means(np.array([-0.5]), np.array([0.25 / 64]), np.array([64]))
        >>> [round(skewness.quantile(probability, 63), 2) for probability in (0.025, 0.975)]
        [-2.0, 2.19]
    """
    curvature = float(np.sum(weights**3 * variances**2))
    third = float(np.sum(weights**3 * variances**2 * (3 + variances * np.asarray(draws))))
    return _from_cumulants(
        variance=float(np.sum(weights**2 * variances)),
        third=third,
        curvature=curvature,
        bias=-0.5 * float(np.sum(weights * variances)),
    )


def of_log_lr_star(weights: Array, se: Array, draws: ArrayLike) -> Skewness:
    """The skewness of Σ weight · log10 η*, where η* = (mean of S̄)^(-1/2), with independent depths.

    Args:
        weights: of each depth.
        se: standard error of each log10 η*.
        draws: number of weight draws at each depth.
    """
    scale = 2 * np.log(10)
    return of_log_means(-weights / scale, (scale * se) ** 2, draws)


def of_means(rows: Array, statistic: Callable[[Array], float], *, bias: float) -> Skewness:
    """The skewness of a smooth function of the means of rows with columns that are drawn together.

    Args:
        rows: shape (D, ...).
        statistic: maps rows to a number.
        bias: the bias of ``statistic(rows)``, from the jackknife.

    Returns:
        :data:`SYMMETRIC` if the statistic is not a function of the means, such as a mean of logs, or if the rows are
        not like log-normal ones: a mean is not positive, or more than a tenth of the rows are not.
    """
    n = len(rows)
    means = np.asarray(rows.mean(axis=0))
    if not (means > 0).all() or (rows > 0).mean() < 0.9:
        return SYMMETRIC
    columns = rows.reshape(n, -1) / means.reshape(-1)

    def at(log_change: Array) -> float:
        return float(statistic((means * np.exp(log_change.reshape(means.shape)))[None]))

    value = at(np.zeros(columns.shape[1]))
    if not np.isclose(value, float(statistic(rows)), rtol=1e-9, atol=1e-12):
        return SYMMETRIC
    weights = log_gradient(statistic, means)
    covariance = np.atleast_2d(np.cov(columns, rowvar=False)) / n
    towards = covariance @ weights
    variance = float(weights @ towards)
    if not (np.isfinite(variance) and variance > 0):
        return SYMMETRIC
    # The second derivative in the relative means, along the direction in which the estimate deviates.
    scale = STEP / np.abs(towards).max()
    moves = [at(np.log1p(side * scale * towards)) for side in (1, -1)]
    second = (sum(moves) - 2 * value) / scale**2
    triple = np.einsum("i,j,k,ij,ik,jk->", weights, weights, weights, covariance, covariance, covariance, optimize=True)
    third = 3 * float(weights @ towards**2) + n * float(triple)
    linear = columns @ weights
    measured = _sample_skewness(linear) if n > 2 else 0.0
    third = float(limited(third, measured, variance, n))
    return _from_cumulants(variance=variance, third=third, curvature=-second, bias=bias)


def _sample_skewness(values: Array) -> float:
    """The unbiased skewness of a sample, scipy.stats.skew(bias=False); NaN if all values are equal.

    Importing scipy.stats takes half a second, which every worker of a sweep and every command would need.
    """
    n, mean = values.size, values.mean()
    deviations = values - mean
    second, third = np.mean(deviations**2), np.mean(deviations**2 * deviations)
    if second <= (np.finfo(np.float64).resolution * mean) ** 2:  # scipy's criterion for equal values
        return float("nan")
    return float(np.sqrt((n - 1) * n) / (n - 2) * third / second**1.5)


def limited(third: Array | float, measured: Array | float, variance: Array | float, n: int) -> Array:
    """The third cumulant of an estimate, at most that of rows with the measured skewness + `SKEWNESS_ERRORS` errors.

    Args:
        third: that of log-normal rows.
        measured: skewness of the rows' linear contributions to the estimate.
        variance: of the estimate.
        n: number of rows.
    """
    largest = np.maximum(np.sign(third) * measured + SKEWNESS_ERRORS * (6 / n) ** 0.5, 0) * variance**1.5 / n**0.5
    return np.asarray(np.sign(third) * np.minimum(np.abs(third), largest))


def log_gradient(statistic: Callable[[Array], float], means: Array) -> Array:
    """The derivatives of a function of the means with respect to their logs, shape (C,)."""

    def at(log_change: Array) -> float:
        return float(statistic((means * np.exp(log_change.reshape(means.shape)))[None]))

    return np.array([at(STEP * one) - at(-STEP * one) for one in np.eye(means.size)]) / (2 * STEP)


def _from_cumulants(*, variance: float, third: float, curvature: float, bias: float) -> Skewness:
    """The skewness of T.

    Args:
        variance: that of the estimate.
        third: third cumulant of the linear part of the estimate.
        curvature: minus the second derivative of the statistic along the covariance of the means with the estimate.
        bias: of the estimate.
    """
    if not (np.isfinite([variance, third, curvature, bias]).all() and variance > 0):
        return SYMMETRIC
    error = variance**0.5
    mean = bias / error + (curvature - third / 2) / error**3
    quadratic = (3 * curvature - 2 * third) / (6 * error**3)
    return Skewness(quadratic=float(quadratic), constant=float(mean - quadratic))
