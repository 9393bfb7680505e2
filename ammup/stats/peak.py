"""The best learning rate at one depth of a sweep, with its uncertainty and what speaks against it.

Axes: S seed, P learning rate (ascending).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.stats.parabola import parabola_top, seed_scatter

OPTIMA = ("smoothed", "argmax")
# The neighbourhood of a maximum: next to one another, and less than this share of the whole rise below it.
NEAR = 0.25
# Two more than a parabola has coefficients, so that residuals are left to estimate its error from.
FEWEST = 5

EDGE, DIVERGENCE, NO_MAXIMUM, INCOMPLETE = "edge of the grid", "beside divergence", "no maximum", "cells are missing"


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The learning rate with the best validation accuracy, in two ways.

    Attributes:
        argmax: the paper's (section 4.1): each seed's best grid point, averaged over seeds in log η.
        argmax_se: standard error of log10 argmax.
        smoothed: top of the parabola through the neighbourhood of the maximum, seeds pooled; the argmax of the mean
            over seeds where there is no such top.
        smoothed_se: standard error of log10 smoothed.
        accuracy: mean validation accuracy over seeds at the best grid point.
        near: (lowest, highest) learning rate that the parabola was fitted to.
        flags: reasons not to trust the optimum; empty where there are none.
    """

    argmax: float
    argmax_se: float
    smoothed: float
    smoothed_se: float
    accuracy: float
    near: tuple[float, float]
    flags: tuple[str, ...]

    def lr_star(self, kind: str) -> tuple[float, float]:
        """(η*, standard error of log10 η*) of the kind "smoothed" or "argmax"."""
        return (self.argmax, self.argmax_se) if kind == "argmax" else (self.smoothed, self.smoothed_se)


def optimum_of(runs: pd.DataFrame, *, left_out: pd.DataFrame | None = None) -> Optimum:
    """The best learning rate of one depth.

    The smoothed optimum is the top of y = a_s + b u + c u², u = log10 η, fitted to all seeds at the learning rates next
    to the maximum of their mean, with an a_s for each seed s. Its standard error is that of -b/2c (delta method, errors
    from the residuals), or that of the mean of the tops of each seed's own parabola where that is larger: seeds differ
    by more than noise from one learning rate to the next. It is at most the width of the neighbourhood, inside which
    the top is. Both optima's errors include d²/12 for the grid spacing d.
    A diverged replica has no accuracy, and a learning rate at which one seed diverged no mean. Nor has one that a
    search left out for some seeds: the best of means over fewer seeds is biased upwards.

    Args:
        runs: columns lr, seed, val_accuracy, diverged.
        left_out: columns lr, seed: cells that a search left out.

    Raises:
        InputError: no learning rate without a diverged replica.
    """
    return SeedCurves.of(runs, left_out=left_out).optimum()


@dataclass(frozen=True, kw_only=True, eq=False)
class SeedCurves:
    """The runs of one depth as arrays: a curve over learning rates for each seed.

    Attributes:
        seeds: ascending, [S].
        lrs: ascending, [P].
        accuracy: NaN where there is none, [S, P].
        diverged: [S, P].
        complete: whether nothing is missing.
        searched: whether something was left out.
    """

    seeds: NDArray[np.int64]
    lrs: Array
    accuracy: Array
    diverged: NDArray[np.bool_]
    complete: bool
    searched: bool

    @classmethod
    def of(cls, runs: pd.DataFrame, *, left_out: pd.DataFrame | None = None) -> "SeedCurves":
        """Arguments as of :func:`optimum_of`."""
        others = pd.DataFrame(columns=["lr", "seed"]) if left_out is None else left_out
        lrs, place = np.unique(np.concatenate([runs["lr"], others["lr"]]).astype(np.float64), return_inverse=True)
        seeds, row = np.unique(np.concatenate([runs["seed"], others["seed"]]), return_inverse=True)
        accuracy = np.full((len(seeds), len(lrs)), np.nan)
        diverged = np.zeros(accuracy.shape, dtype=bool)
        at = row[: len(runs)], place[: len(runs)]
        accuracy[at], diverged[at] = runs["val_accuracy"], runs["diverged"]
        return cls(
            seeds=seeds.astype(np.int64),
            lrs=lrs,
            accuracy=accuracy,
            diverged=diverged,
            complete=len(place) == accuracy.size,
            searched=len(others) > 0,
        )

    def without(self, seeds: NDArray[np.int64]) -> "SeedCurves":
        """All but these seeds."""
        kept = ~np.isin(self.seeds, seeds)
        return replace(self, seeds=self.seeds[kept], accuracy=self.accuracy[kept], diverged=self.diverged[kept])

    def optimum(self) -> Optimum:
        """See :func:`optimum_of`."""
        u, lost = np.log10(self.lrs), np.asarray(self.diverged.any(axis=0))
        accuracy = np.where(lost, np.nan, self.accuracy)
        mean = self._mean(accuracy)
        best = int(np.argmax(mean))
        spacing = float(np.median(np.diff(u))) if u.size > 1 else 0.0
        known = np.isfinite(accuracy).any(axis=1)
        best_of_seeds = u[np.nanargmax(accuracy[known], axis=1)]
        near = _neighbourhood(mean, best)
        top, error = parabola_top(u[near], accuracy[:, near])
        error = min(max(error, seed_scatter(u[near], accuracy[:, near])), float(np.ptp(u[near])))
        inside = bool(u[near][0] <= top <= u[near][-1])
        smoothed = top if inside else u[best]
        flags = [*_flags(best, self.lrs, lost, smoothed)]
        flags += [NO_MAXIMUM] * (not inside) + [INCOMPLETE] * (not self.complete)
        n = best_of_seeds.size
        argmax_variance = best_of_seeds.var(ddof=1) / n if n > 1 else 0.0
        smoothed_variance = error**2 if inside else spacing**2
        return Optimum(
            argmax=float(10 ** best_of_seeds.mean()),
            argmax_se=float(np.sqrt(argmax_variance + spacing**2 / 12)),
            smoothed=float(10**smoothed),
            smoothed_se=float(np.sqrt(smoothed_variance + spacing**2 / 12)),
            accuracy=float(mean[best]),
            near=(float(self.lrs[near][0]), float(self.lrs[near][-1])),
            flags=tuple(flags),
        )

    def _mean(self, accuracy: Array) -> Array:
        """Over the seeds with an accuracy, -∞ where there are none, or fewer than elsewhere after a search."""
        counted = np.isfinite(accuracy).sum(axis=0)
        if not counted.any():
            raise InputError("every learning rate of a depth diverged; extend the grid to smaller ones")
        used = counted == counted.max() if self.searched else counted > 0
        return np.where(used, np.nansum(accuracy, axis=0) / np.maximum(counted, 1), -np.inf)


def _neighbourhood(mean: Array, best: int) -> NDArray[np.intp]:
    """Places next to one another around the best, above the threshold; at least FEWEST where the grid has them."""
    finite = np.isfinite(mean)
    threshold = mean[best] - NEAR * (mean[best] - mean[finite].min())
    low = high = best
    while low > 0 and mean[low - 1] >= threshold:
        low -= 1
    while high < mean.size - 1 and mean[high + 1] >= threshold:
        high += 1
    while high - low + 1 < FEWEST and (_reachable(finite, low - 1) or _reachable(finite, high + 1)):
        take_low = _reachable(finite, low - 1) and (best - low <= high - best or not _reachable(finite, high + 1))
        low, high = (low - 1, high) if take_low else (low, high + 1)
    return np.arange(low, high + 1)


def _reachable(finite: NDArray[np.bool_], place: int) -> bool:
    return 0 <= place < finite.size and bool(finite[place])


def _flags(best: int, lrs: Array, lost: NDArray[np.bool_], top: float) -> Iterator[str]:
    if best in (0, lrs.size - 1):
        yield EDGE
    above = int(np.searchsorted(np.log10(lrs), top, side="right"))  # the next learning rate above the optimum
    if lost[best + 1 : best + 2].any() or lost[above : above + 1].any():
        yield DIVERGENCE
