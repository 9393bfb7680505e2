"""The difference of the slopes of two curves, which may have weight draws in common."""

from dataclasses import dataclass, replace

import numpy as np

from ammup.arrays import Array
from ammup.gate.curve import Curve, StoredCurve
from ammup.gate.typical import is_typical, slope_values
from ammup.stats.intervals import t_interval, upper_probability, welch_df


@dataclass(frozen=True, kw_only=True)
class SlopeComparison:
    """The slope of a new curve minus that of a stored one, and the variances of which its error consists.

    Draws with the same seed are compared with each other. If the weights are the same, the scatter between the draws
    cancels, and so does the error of an unchanged model; if they are independent, the variance is that of two
    independent curves. The variances are estimated, so neither is assumed.

    The slopes are those of typical η*, see :mod:`ammup.gate.typical`.

    Attributes:
        difference: new slope minus old slope.
        seeds: the range of the seeds of the old and of the new curve.
        old: variance of the slope between draws of the old curve.
        new: the same of the new curve.
        common: the covariance matrix of (old, new) between draws that both curves have; None if there are fewer
            than two.
    """

    difference: float
    seeds: tuple[range, range]
    old: float
    new: float
    common: Array | None

    @classmethod
    def from_curves(cls, old: StoredCurve, new: Curve) -> "SlopeComparison":
        """Compare a measured curve with a stored one; without stored draws, their scatter follows from its points."""
        seeds = (_seeds(old), _seeds(new))
        typical = is_typical(old, new)
        ours = slope_values(new.S_bar, new.depths, typical=typical)
        if old.S_bar is None:
            theirs, old_variance = None, old.slope_se**2 * old.draws
        else:
            theirs = slope_values(old.S_bar, new.depths, typical=typical)
            old_variance = _variance(theirs)
        shared = _shared(*seeds)
        common = None
        if theirs is not None and len(shared) > 1:
            parts = ((theirs, seeds[0].start), (ours, seeds[1].start))
            common = np.cov(np.stack([u[shared.start - start : shared.stop - start] for u, start in parts]))
        difference = new.power_law.slope - old.slope
        if typical and theirs is not None:
            difference = float(ours.mean() - theirs.mean())
        return cls(
            difference=difference,
            seeds=seeds,
            old=old_variance,
            new=_variance(ours),
            common=common,
        )

    @classmethod
    def to_baseline(cls, curve: Curve, stored: StoredCurve | None) -> "SlopeComparison":
        """Compare a curve with a baseline; if it is to be recorded, with as many other draws of itself."""
        return cls.from_curves(replace(curve.stored(), first_seed=-curve.draws) if stored is None else stored, curve)

    def error(self, draws: int | None = None) -> float:
        """Standard error of the difference, now or with another number of new draws."""
        return float(np.sqrt(sum(self._parts(draws)[0])))

    def with_interval(self, level: float) -> tuple[float, tuple[float, float]]:
        """The difference, and its confidence interval with the errors of both slopes."""
        return self.difference, self.interval(level)

    def df(self, draws: int | None = None) -> float:
        """Degrees of freedom of the error (Welch-Satterthwaite)."""
        variances, df = (np.array(values, dtype=np.float64) for values in self._parts(draws))
        used = variances > 0
        return welch_df(variances[used], df[used], total=float(variances.sum()))

    def interval(self, level: float) -> tuple[float, float]:
        """The confidence interval of the difference, with the errors of both slopes."""
        return t_interval(self.difference, self.error(), df=self.df(), probability=upper_probability(level))

    def _parts(self, draws: int | None) -> tuple[list[float], list[float]]:
        """Variances, and their degrees of freedom, of the shared draws and of those of one curve only."""
        old, new = self.seeds
        new = new if draws is None else range(new.start, new.start + draws)
        n_old, n_new, shared = len(old), len(new), 0
        together = 0.0
        if self.common is not None:
            shared = len(_shared(old, new))
            weights = np.array([-1 / n_old, 1 / n_new])
            together = shared * max(float(weights @ self.common @ weights), 0.0)
        alone = [(n_new - shared) * self.new / n_new**2, (n_old - shared) * self.old / n_old**2]
        return [together, *alone], [max(shared - 1, 1), max(n_new - 1, 1), max(n_old - 1, 1)]


def _variance(values: Array) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else float("nan")


def _seeds(curve: Curve | StoredCurve) -> range:
    return range(curve.first_seed, curve.first_seed + curve.draws)


def _shared(a: range, b: range) -> range:
    return range(max(a.start, b.start), max(min(a.stop, b.stop), max(a.start, b.start)))
