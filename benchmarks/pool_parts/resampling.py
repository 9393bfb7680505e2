"""Intervals of weighted sums of log means, for many resamples of a pool in one call.

Axes: R resample, D draw, C column.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ammup.stats.skewness import limited, transformed

Array = NDArray[np.float64]
Bounds = tuple[Array, Array]


@dataclass(frozen=True, kw_only=True)
class Case:
    """An estimate, Σ_C weight · log mean of the column.

    Attributes:
        name: for the table.
        pools: groups of columns that are drawn together, each (draws of the pool, columns).
        controls: for each group the control variates of expectation 1, or None.
        weights: of all columns.
    """

    name: str
    pools: tuple[Array, ...]
    controls: tuple[Array | None, ...]
    weights: Array

    @property
    def truth(self) -> float:
        """The estimate from the pool, which is the population of the resamples; controls have their own mean there."""
        means = np.concatenate([pool.mean(axis=0) for pool in self.pools])
        return float(self.weights @ np.log(means))

    @property
    def variation(self) -> float:
        """The largest coefficient of variation of a column, without control."""
        return float(max((pool.std(axis=0) / pool.mean(axis=0)).max() for pool in self.pools))

    def resamples(self, n: int, number: int, rng: np.random.Generator) -> Array:
        """Rows drawn with replacement, (R, D, C); with controls, their values after control."""
        parts = []
        for pool, control in zip(self.pools, self.controls, strict=True):
            places = rng.integers(len(pool), size=(number, n))
            rows = pool[places]
            parts.append(rows if control is None else _controlled(rows, (control / control.mean(axis=0))[places]))
        return np.concatenate(parts, axis=2)


def _controlled(values: Array, control: Array) -> Array:
    """As :func:`ammup.stats.equivalence.controlled`, for the draws of every resample and column."""
    n = values.shape[1]
    x, y = control - control.mean(axis=1, keepdims=True), values - values.mean(axis=1, keepdims=True)
    scale = n / (n - 1)
    xy = (x * y).sum(axis=1, keepdims=True) - scale * x * y
    xx = (x * x).sum(axis=1, keepdims=True) - scale * x * x
    return np.asarray(values - np.divide(xy, xx, out=np.zeros_like(xy), where=xx > 0) * (control - 1))


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What the closed intervals need of the resamples, each of shape (R,).

    Attributes:
        value: the estimate.
        se: its jackknife standard error.
        skew: skewness of the pseudo-values, adjusted for n.
        bias: of the estimate, by the jackknife.
        third: third cumulant of the linear part for log-normal rows with the measured covariance.
        curvature: Σ_C weight · (covariance of the mean with the estimate)².
        log_value: the estimate of log-normal rows, Σ weight · (mean + variance/2 of the logs); NaN without a log.
        log_se: its standard error.
        n: number of draws.
    """

    value: Array
    se: Array
    skew: Array
    bias: Array
    third: Array
    curvature: Array
    log_value: Array
    log_se: Array
    n: int


def moments_of(rows: Array, a: Array) -> Moments:
    n = rows.shape[1]
    mean = rows.mean(axis=1)
    u = rows / mean[:, None] - 1
    value = np.log(mean) @ a
    parts = np.log1p(-u / (n - 1)) @ a
    centre = parts.mean(axis=1)
    deviation = centre[:, None] - parts
    squares = (deviation**2).sum(axis=1)
    g1 = (deviation**3).mean(axis=1) / (squares / n) ** 1.5
    covariance = np.einsum("rdi,rdj->rij", u, u) / ((n - 1) * n)
    towards = covariance @ a
    triple = np.einsum("i,j,k,rij,rik,rjk->r", a, a, a, covariance, covariance, covariance, optimize=True)
    curvature = (a * towards**2).sum(axis=1)
    log_value, log_se = _log_normal(rows, a)
    return Moments(
        value=value,
        se=np.sqrt((n - 1) / n * squares),
        skew=g1 * np.sqrt(n * (n - 1)) / (n - 2),
        bias=(n - 1) * centre,
        third=3 * curvature + n * triple,
        curvature=curvature,
        log_value=log_value,
        log_se=log_se,
        n=n,
    )


def _log_normal(rows: Array, a: Array) -> Bounds:
    """(Estimate, standard error) of Cox's method (Olsson 2005), for sums over columns that may be correlated."""
    n = rows.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        y = np.log(rows)
    y0 = y - y.mean(axis=1, keepdims=True)
    covariance = np.einsum("rdi,rdj->rij", y0, y0) / (n - 1)
    value = (y.mean(axis=1) + np.einsum("rii->ri", covariance) / 2) @ a
    variance = np.einsum("i,j,rij->r", a, a, covariance / n + covariance**2 / (2 * (n - 1)))
    return value, np.sqrt(variance)


def student(m: Moments, alpha: float) -> Bounds:
    half = stats.t.ppf(1 - alpha, m.n - 1) * m.se
    return m.value - half, m.value + half


def johnson(m: Moments, alpha: float) -> Bounds:
    """Johnson (1978): Student's t around the pseudo-values' mean + third moment/(6 n variance)."""
    low, high = student(m, alpha)
    shift = m.skew * m.se / (6 * np.sqrt(m.n))
    return low + shift, high + shift


def hall(m: Moments, alpha: float) -> Bounds:
    """Hall (1992): the monotone cubic transformation, on the pseudo-values; also Willink's (2005) interval."""
    gamma = np.where(np.abs(m.skew) < 1e-9, 1e-9, m.skew) / np.sqrt(m.n)
    upper, lower = (
        3 / gamma * (np.cbrt(1 + gamma * (t - gamma / 6)) - 1)
        for t in (stats.t.ppf(1 - alpha, m.n - 1), stats.t.ppf(alpha, m.n - 1))
    )
    return m.value - upper * m.se, m.value - lower * m.se


def _edgeworth(m: Moments, third: Array, alpha: float) -> Bounds:
    mean = m.bias / m.se + (m.curvature - third / 2) / m.se**3
    quadratic = (3 * m.curvature - 2 * third) / (6 * m.se**3)
    t = stats.t.ppf(1 - alpha, m.n - 1)
    upper, lower = (transformed(np.float64(z), quadratic, mean - quadratic) for z in (t, -t))
    return m.value - upper * m.se, m.value - lower * m.se


def curved(m: Moments, alpha: float) -> Bounds:
    """The transformation of ammup.stats.skewness with the measured third moment of the pseudo-values."""
    return _edgeworth(m, m.skew * m.se**3 / np.sqrt(m.n), alpha)


def library(m: Moments, alpha: float) -> Bounds:
    """The interval of ammup: the third moment is that of log-normal rows, or less."""
    return _edgeworth(m, np.asarray(limited(m.third, m.skew, m.se**2, m.n)), alpha)


def cox(m: Moments, alpha: float) -> Bounds:
    half = stats.t.ppf(1 - alpha, m.n - 1) * m.log_se
    return m.log_value - half, m.log_value + half


CLOSED: Mapping[str, Callable[[Moments, float], Bounds]] = {
    "Student": student,
    "Johnson": johnson,
    "Hall": hall,
    "Cox": cox,
    "measured skew": curved,
    "ammup": library,
}


def chunks(total: int, n: int, columns: int, values: int = 2_000_000) -> Iterator[int]:
    """Sizes of chunks of resamples that fit in the cache of a machine with little memory."""
    size = max(1, values // (n * columns))
    for start in range(0, total, size):
        yield min(size, total - start)
