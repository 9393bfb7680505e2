"""Find a threshold from tests whose outcomes are uncertain near it: bisection with a probability distribution.

A test at u fails if u is above the threshold. The threshold differs from test to test (between seeds), normally
distributed with the standard deviation ``noise``, so that a test at u fails with probability Φ((u - t) / noise). Bayes'
theorem turns a normal prior and the outcomes into a posterior on a grid. The next test is placed at the median, which
for this model is close to the most informative place (Waeber, Frazier and Henderson 2013, "Bisection search with noisy
responses").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, ndtr

from ammup.arrays import Array
from ammup.format import brief_repr

POINTS = 2001  # of the grid
REACH = 5.0  # the grid reaches this number of standard deviations of the prior to both sides


@dataclass(frozen=True, kw_only=True, eq=False)
class Threshold:
    """The distribution of a threshold.

    Attributes:
        grid: values, ascending.
        weights: their probabilities; the sum is 1.
        noise: standard deviation of the threshold between tests.
    """

    grid: Array
    weights: Array
    noise: float

    @classmethod
    def normal(cls, mean: float, sd: float, *, noise: float) -> "Threshold":
        """A normal prior."""
        grid = mean + np.linspace(-REACH, REACH, POINTS) * sd
        return cls(grid=grid, weights=_normalized(-0.5 * ((grid - mean) / sd) ** 2), noise=noise)

    def __repr__(self) -> str:
        return brief_repr(self, mean=self.mean, sd=self.sd, interval=self.interval(0.95))

    def after(self, tests: Sequence[tuple[float, bool]]) -> "Threshold":
        """The distribution after further tests, each its place and whether it failed."""
        log = np.log(np.maximum(self.weights, 1e-300))
        for place, failed in tests:
            z = (place - self.grid) / self.noise
            log = log + log_ndtr(z if failed else -z)
        return Threshold(grid=self.grid, weights=_normalized(log), noise=self.noise)

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
        return float(np.interp(probability, np.cumsum(self.weights), self.grid))

    def interval(self, level: float) -> tuple[float, float]:
        """The central interval with this probability."""
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def places(self, number: int) -> tuple[float, ...]:
        """Where to test next, if this number of tests runs at the same time: equally spaced quantiles."""
        return tuple(self.quantile(k / (number + 1)) for k in range(1, number + 1))

    def sd_after_one(self, place: float | None = None) -> float:
        """The expected standard deviation after one more test, at the median unless a place is given."""
        at = self.median if place is None else place
        fails = float(self.weights @ ndtr((at - self.grid) / self.noise))
        outcomes = ((fails, True), (1 - fails, False))
        return float(sum(p * self.after([(at, failed)]).sd for p, failed in outcomes if p > 0))


def _normalized(log: Array) -> Array:
    weights = np.exp(log - log.max())
    return np.asarray(weights / weights.sum())
