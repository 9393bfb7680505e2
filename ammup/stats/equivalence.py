"""Equivalence tests: whether the confidence interval of an estimate lies inside a region, outside, or across its edge.

A test for *no significant difference* passes more easily when the estimate is noisier. Here the entire confidence
interval must lie inside the region (two one-sided tests, TOST), so noise can make the result undecided but never a
pass.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.stats.intervals import jackknife_error
from ammup.stats.skewness import SYMMETRIC, Skewness, of_means

INSIDE, OUTSIDE, UNDECIDED = "inside", "outside", "undecided"


@dataclass(frozen=True, kw_only=True)
class Region:
    """The values from ``low`` to ``high`` that are consistent with a statement; either end may be infinite."""

    low: float
    high: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        if not self.low <= self.high:
            raise InputError(f"region from {self.low} to {self.high} is empty; give low <= high")

    @classmethod
    def around(cls, reference: float, margin: float) -> "Region":
        """``reference`` ± ``margin``."""
        return cls(low=reference - margin, high=reference + margin)

    @property
    def margin(self) -> float:
        """Half the width; infinite for a one-sided region."""
        return (self.high - self.low) / 2

    @property
    def centre(self) -> float:
        """The midpoint; the finite end of a one-sided region; 0 if both ends are infinite."""
        ends = [end for end in (self.low, self.high) if np.isfinite(end)]
        return float(np.mean(ends)) if ends else 0.0

    def place(self, interval: tuple[float, float]) -> str:
        """Where an interval lies: "inside", "outside" or "undecided". An interval of two NaNs is undecided."""
        low, high = interval
        if self.low <= low and high <= self.high:
            return INSIDE
        return OUTSIDE if high < self.low or low > self.high else UNDECIDED


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate with its standard error.

    Attributes:
        value: the estimate.
        se: its standard error, in the same units.
        df: degrees of freedom of the standard error.
        n: number of draws.
        skewness: that of (value - truth)/se.
    """

    value: float
    se: float
    df: float
    n: int
    skewness: Skewness = SYMMETRIC

    def interval(self, alpha: float) -> tuple[float, float]:
        """The (1 - 2 alpha) confidence interval: between two one-sided bounds, each of error rate ``alpha``."""
        if not self.se > 0:
            return self.value, self.value
        return self.skewness.interval(self.value, self.se, df=self.df, probability=1 - alpha)

    def against(self, region: Region, alpha: float) -> str:
        """Where the confidence interval lies: "inside", "outside" or "undecided"."""
        return region.place(self.interval(alpha))

    def power(self, region: Region, alpha: float, truth: float | None = None) -> float:
        """Probability that the interval of a new estimate with this standard error lies inside the region.

        ``truth`` is the true value, by default the region's centre. The new estimate is assumed to be normally
        distributed; the ends of its interval have the same distance from it as those of this one.
        """
        centre = region.centre if truth is None else truth
        if self.se == 0:
            return float(region.low <= centre <= region.high)
        low, high = self.interval(alpha)
        largest = (region.high - (high - self.value) - centre) / self.se
        smallest = (region.low + (self.value - low) - centre) / self.se
        return max(0.0, float(ndtr(largest) - ndtr(smallest)))


def jackknife(rows: Array, statistic: Callable[[Array], float]) -> Estimate:
    """A statistic of independent rows, with its delete-one jackknife standard error and its skewness.

    Args:
        rows: one row for each weight draw, shape (n, ...), n at least 2.
        statistic: a smooth function of the rows' means, such as a slope of log means.

    Raises:
        InputError: fewer than two rows, or a row or a statistic that is not finite.

    Example:
        >>> import numpy as np
        >>> estimate = jackknife(np.array([1.0, 2.0, 3.0, 4.0]), np.mean)
        >>> round(estimate.value, 3), round(estimate.se, 3)
        (2.5, 0.645)
    """
    n = len(rows)
    if n < 2 or not np.all(np.isfinite(rows)):
        raise InputError(f"{n} rows of shape {np.shape(rows)[1:]}: expected at least two rows of finite numbers")
    value = float(statistic(rows))
    parts = np.array([float(statistic(np.delete(rows, i, axis=0))) for i in range(n)])
    if not np.isfinite([value, *parts]).all():
        raise InputError("the statistic of these rows is not finite; check the measured values")
    skewness = of_means(np.asarray(rows), statistic, bias=(n - 1) * float(parts.mean() - value))
    return Estimate(value=value, se=float(jackknife_error(parts)), df=n - 1, n=n, skewness=skewness)


def controlled(values: Array, control: Array, expected: float) -> Array:
    """Reduce the variance of values with a control variate whose expectation is known exactly.

    From each value, β (control - expected) is subtracted. β is the least-squares slope of the values on the control
    over the *other* draws, so that the expectation of the value does not change.

    Args:
        values: one value for each draw, shape (n,), n at least 4.
        control: the control variate of each draw, shape (n,).
        expected: its exact expectation.
    """
    n = len(values)
    if n < 4 or control.shape != values.shape:
        given = f"{n} values and controls of shape {control.shape}"
        raise InputError(f"{given}: expected at least 4 values and as many controls")
    x, y = control - control.mean(), values - values.mean()
    # Leave-one-out sums about the leave-one-out means, by rank-one downdates.
    scale = n / (n - 1)
    xy, xx = (x @ y) - scale * x * y, (x @ x) - scale * x * x
    rounding_error = max(1e-12 * (x @ x), 1e-24 * (control @ control))
    slope = np.divide(xy, xx, out=np.zeros_like(xy), where=xx > rounding_error)
    return np.asarray(values - slope * (control - expected))
