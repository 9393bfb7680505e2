"""Find a threshold from tests that pass or fail: bisection with a probability distribution.

A test at u fails if u is above the threshold of its group, such as a seed. The thresholds of the groups are normally
distributed around the wanted one with the standard deviation ``between``. Within a group, the outcome is uncertain near
the threshold: it fails with probability Φ((u - t) / within). So several tests of one group say less than tests of
several groups. Bayes' theorem turns a normal prior and the outcomes into a posterior on a grid. The next test is placed
at the median, which is close to the most informative place (Waeber, Frazier and Henderson 2013, "Bisection search with
noisy responses").
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import log_ndtr, ndtr

from ammup.arrays import Array
from ammup.format import brief_repr

POINTS = 1201  # of the grid
REACH = 6.0  # the grid reaches this number of standard deviations of the prior to both sides
TINY = 1e-300


@dataclass(frozen=True, kw_only=True)
class Test:
    """A test.

    Attributes:
        place: u.
        failed: whether it failed.
        group: tests of equal groups share a threshold.
    """

    place: float
    failed: bool
    group: Hashable


@dataclass(frozen=True, kw_only=True, eq=False)
class Threshold:
    """The distribution of a threshold.

    Attributes:
        grid: values, ascending and equally spaced.
        prior: their prior probabilities.
        weights: their probabilities after all tests; the sum is 1.
        between: standard deviation of the threshold between groups.
        within: standard deviation of the threshold between tests of a group.
        tests: all tests so far.
    """

    grid: Array
    prior: Array
    weights: Array
    between: float
    within: float
    tests: tuple[Test, ...] = ()

    @classmethod
    def normal(cls, mean: float, sd: float, *, between: float, within: float) -> "Threshold":
        """A normal prior."""
        grid = mean + np.linspace(-REACH, REACH, POINTS) * sd
        prior = _normalized(-0.5 * ((grid - mean) / sd) ** 2)
        return cls(grid=grid, prior=prior, weights=prior, between=between, within=within)

    def __repr__(self) -> str:
        return brief_repr(self, mean=self.mean, sd=self.sd, interval=self.interval(0.95), tests=len(self.tests))

    def after(self, tests: Sequence[Test]) -> "Threshold":
        """The distribution after further tests."""
        every = (*self.tests, *tests)
        log = np.log(np.maximum(self.prior, TINY))
        for group in dict.fromkeys(test.group for test in every):
            log = log + self._log_likelihood([test for test in every if test.group == group])
        return replace(self, weights=_normalized(log), tests=every)

    def _log_likelihood(self, tests: Sequence[Test]) -> Array:
        """Log likelihood of the threshold for the tests of one group: that of the group's own, spread over groups."""
        log = np.zeros_like(self.grid)
        for test in tests:
            z = (test.place - self.grid) / self.within
            log = log + log_ndtr(z if test.failed else -z)
        spacing = float(self.grid[1] - self.grid[0])
        own = np.exp(log - log.max())
        spread = gaussian_filter1d(own, self.between / spacing, mode="nearest")
        return np.asarray(np.log(np.maximum(spread, TINY)))

    @property
    def mean(self) -> float:
        """The expectation."""
        return float(self.weights @ self.grid)

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return float(np.sqrt(self.weights @ (self.grid - self.mean) ** 2))

    @property
    def median(self) -> float:
        """The median, where the next test is most informative."""
        return self.quantile(0.5)

    def quantile(self, probability: float) -> float:
        """The smallest value with at least this cumulative probability, interpolated."""
        return float(np.interp(probability, np.cumsum(self.weights) - self.weights / 2, self.grid))

    def interval(self, level: float) -> tuple[float, float]:
        """The central interval with this probability."""
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def places(self, number: int) -> tuple[float, ...]:
        """Where to test next, if this number of tests runs at the same time: equally spaced quantiles."""
        return tuple(self.quantile(k / (number + 1)) for k in range(1, number + 1))

    def sd_after_one(self, group: Hashable) -> float:
        """The expected standard deviation after one more test of a group, at the median."""
        at = self.median
        spread = float(np.hypot(self.between, self.within))
        fails = float(self.weights @ ndtr((at - self.grid) / spread))
        outcomes = ((fails, True), (1 - fails, False))
        return float(sum(p * self.after([Test(place=at, failed=f, group=group)]).sd for p, f in outcomes))


def _normalized(log: Array) -> Array:
    weights = np.exp(log - log.max())
    return np.asarray(weights / weights.sum())
