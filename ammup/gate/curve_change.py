"""The difference between a measured curve η*(L) and a stored one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ammup.gate.curve import Curve, CurvePoint, StoredCurve
from ammup.gate.typical import compared_points, is_typical
from ammup.stats.intervals import t_quantile

# Probability that the curve of an unchanged model with other weight draws counts as moved, over all depths together. A
# baseline is compared in every run of CI, and all of these comparisons share the error of its draws. A check looks at
# the curve of its first draws and, if it adds draws, at that of all of them; each look has half of the probability.
MOVED_ERROR = 1e-4
LOOKS = 2
# Either of two criteria suffices: the standard errors of both curves, and those of the differences between draws.
CRITERIA = 2
# With the same weight draws, η* may change by this share without counting as moved: other kernels, or another eps of a
# normalization, change it by far less.
TOLERANCE = 0.1
# With the same seeds, torch, device and dtype, log10 η* may change by this share of its standard error. Rounding errors
# are far smaller.
ROUNDING_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class PointChange:
    """The difference of η* at one depth.

    Attributes:
        depth: L.
        old: the stored point.
        new: the measured point.
        limit: the largest change that random draws explain, in standard errors of the difference.
        paired: standard error of the difference between the draws with the same seeds; None without such draws.
        name: what is compared, in words: η* or, of the geometric mean over draws, typical η*.

    The standard error of the difference follows from the larger scatter of both points, because both have the same
    scatter if the model is unchanged. A skewed S̄ scatters little where its mean is too low by chance: with the scatter
    of each point itself, log-normal draws exceed the limit two to four times as often as stated.
    """

    depth: int
    old: CurvePoint
    new: CurvePoint
    limit: float
    paired: float | None = None
    name: str = "η*"

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
        """Whether the change is too large for random draws, or for the same draws of a model that is practically equal.

        The same draws show the smallest changes, so the second criterion leaves out ``TOLERANCE``.
        """
        return self.size > self.limit or self._moved_in_the_same_draws

    @property
    def _moved_in_the_same_draws(self) -> bool:
        beyond = abs(self.change) - float(np.log10(1 + TOLERANCE))
        return self.paired is not None and beyond > self.limit * self.paired

    @property
    def rounded(self) -> bool:
        """Whether the change is as small as that of rounding errors."""
        return bool(abs(self.change) <= ROUNDING_SHARE * self.old.se)

    def __str__(self) -> str:
        changed = f"{self.name} at depth {self.depth} was {self.old.lr_star:.4g} and is {self.new.lr_star:.4g}"
        if self._moved_in_the_same_draws and self.size <= self.limit:
            return f"{changed} in the same weight draws"
        return f"{changed}, {self.size:.1f} standard errors of the difference (limit {self.limit:.1f})"


def curve_changes(old: StoredCurve, new: Curve) -> list[PointChange]:
    """The change at each depth; draws with the same seeds are compared with each other as well."""
    name = "typical η*" if is_typical(old, new) else "η*"
    return point_changes(*compared_points(old, new), paired=_paired_errors(old, new), name=name)


def point_changes(
    old: Mapping[int, CurvePoint],
    new: Mapping[int, CurvePoint],
    *,
    paired: Mapping[int, float] | None = None,
    name: str = "η*",
) -> list[PointChange]:
    """The change at each depth, with limits that hold for all depths together (Bonferroni, Student's t).

    Args:
        old: the stored points.
        new: the measured points.
        paired: for each depth the standard error of the difference between the same draws, if there are any.
        name: what is compared, in words.
    """
    errors = paired or {}
    return [
        PointChange(
            depth=depth,
            old=old[depth],
            new=new[depth],
            limit=_limit(old[depth], new[depth], len(old)),
            paired=errors.get(depth),
            name=name,
        )
        for depth in old
    ]


def _paired_errors(old: StoredCurve, new: Curve) -> dict[int, float]:
    """Standard errors of the differences of log10 η* between the same draws, if the curves have the same seeds."""
    same = is_typical(old, new) and (old.first_seed, old.draws) == (new.first_seed, new.draws) and new.draws > 1
    if not same or old.S_bar is None:
        return {}
    differences = np.log10(new.S_bar / old.S_bar) / -2
    errors = differences.std(axis=0, ddof=1) / len(differences) ** 0.5
    return dict(zip(new.depths, errors.tolist(), strict=True))


def largest(changes: Iterable[PointChange]) -> PointChange:
    """The change with the most standard errors."""
    return max(changes, key=lambda change: change.size)


def _limit(old: CurvePoint, new: CurvePoint, n_depths: int) -> float:
    return t_quantile(1 - MOVED_ERROR / (2 * CRITERIA * LOOKS * n_depths), max(old.draws + new.draws - 2, 1))
