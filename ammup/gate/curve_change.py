"""The difference between a measured curve η*(L) and a stored one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ammup.stats.intervals import t_interval, t_quantile, upper_probability

# Probability that the curve of an unchanged model with other weight draws counts as moved, over all depths together. A
# baseline is compared in every run of CI, and all of these comparisons share the error of its draws.
MOVED_ERROR = 1e-4
# With the same seeds, torch, device and dtype, log10 η* may change by this share of its standard error. Rounding errors
# are far smaller.
ROUNDING_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """η* of one depth with the standard error of log10 η* and the number of weight draws."""

    lr_star: float
    se: float
    draws: int


@dataclass(frozen=True, kw_only=True)
class PointChange:
    """The difference of η* at one depth.

    Attributes:
        depth: L.
        old: the stored point.
        new: the measured point.
        limit: the largest change that random draws explain, in standard errors of the difference.

    The standard error of the difference follows from the larger scatter of both points, because both have the same
    scatter if the model is unchanged. A skewed S̄ scatters little where its mean is too low by chance: with the scatter
    of each point itself, log-normal draws exceed the limit two to four times as often as stated.
    """

    depth: int
    old: CurvePoint
    new: CurvePoint
    limit: float

    @property
    def change(self) -> float:
        """The change of log10 η*."""
        return float(np.log10(self.new.lr_star / self.old.lr_star))

    @property
    def error(self) -> float:
        """Standard error of the change."""
        points = (self.old, self.new)
        scatter = max(point.se * point.draws**0.5 for point in points)
        return float(scatter * sum(1 / point.draws for point in points) ** 0.5)

    @property
    def size(self) -> float:
        """|change of log10 η*| in standard errors of the difference; infinite if both errors are 0."""
        change = abs(self.change)
        return change / self.error if self.error > 0 else (np.inf if change > 0 else 0.0)

    @property
    def moved(self) -> bool:
        """Whether the change is too large for random draws."""
        return self.size > self.limit

    @property
    def rounded(self) -> bool:
        """Whether the change is as small as that of rounding errors."""
        return bool(abs(self.change) <= ROUNDING_SHARE * self.old.se)

    def __str__(self) -> str:
        return (
            f"η* at depth {self.depth} was {self.old.lr_star:.4g} and is {self.new.lr_star:.4g}, "
            f"{self.size:.1f} standard errors of the difference (limit {self.limit:.1f})"
        )


def curve_changes(old: Mapping[int, CurvePoint], new: Mapping[int, CurvePoint]) -> list[PointChange]:
    """The change at each depth, with limits that hold for all depths together (Bonferroni, Student's t)."""
    return [
        PointChange(depth=depth, old=old[depth], new=new[depth], limit=_limit(old[depth], new[depth], len(old)))
        for depth in old
    ]


def slope_change(changes: Iterable[PointChange], *, level: float) -> tuple[float, tuple[float, float]]:
    """The change of the slope of log η* on log L, and its confidence interval from the errors of both curves.

    Args:
        changes: the change at each depth, at least two.
        level: two-sided confidence level.
    """
    changes = list(changes)
    log_depth = np.log10([change.depth for change in changes])
    centred = log_depth - log_depth.mean()
    weights = centred / (centred @ centred)
    difference = float(weights @ [change.change for change in changes])
    error = float(np.linalg.norm(weights * [change.error for change in changes]))
    df = max(min(change.old.draws + change.new.draws for change in changes) - 2, 1)
    return difference, t_interval(difference, error, df=df, probability=upper_probability(level))


def largest(changes: Iterable[PointChange]) -> PointChange:
    """The change with the most standard errors."""
    return max(changes, key=lambda change: change.size)


def _limit(old: CurvePoint, new: CurvePoint, n_depths: int) -> float:
    return t_quantile(1 - MOVED_ERROR / (2 * n_depths), max(old.draws + new.draws - 2, 1))
