"""The best learning rate at one depth of a sweep, with its uncertainty and with flags if it is unreliable.

Axes: S seed, P learning rate (ascending).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.format import brief_fields
from ammup.stats.edge import Edge, edge_errors, edge_of
from ammup.stats.parabola import neighbourhoods, parabola_top, seed_scatter

# The two estimates of the best learning rate, which can be transferred to other depths.
TUNED = ("smoothed", "argmax")
OPTIMA = (*TUNED, "edge")
EDGE, DIVERGENCE, NO_MAXIMUM, INCOMPLETE = (
    "edge of the grid",
    "next to a diverged run",
    "no maximum",
    "cells are missing",
)
ALL_DIVERGED = "every learning rate of a depth diverged; extend the grid to smaller ones"


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """Two estimates, "argmax" and "smoothed", of the learning rate with the best validation accuracy, and the edge.

    Attributes:
        argmax: the estimate of the paper (section 4.1): the best grid point of each seed, averaged over seeds in log η.
        argmax_se: standard error of log10 argmax.
        smoothed: maximum of a parabola fitted to all seeds in the neighbourhood of the best grid point; the best grid
            point of the mean over seeds if the parabola has no maximum in that neighbourhood.
        smoothed_se: standard error of log10 smoothed.
        accuracy: mean validation accuracy over seeds at the best grid point.
        near: (lowest, highest) learning rate that the parabola was fitted to.
        flags: the reasons why argmax and smoothed are unreliable; empty if they are reliable.
        edge: learning rate above the best one at which the accuracy falls below half of its rise above chance, see
            :mod:`ammup.stats.edge`. A seed without such a fall counts with the largest learning rate of the grid.
        edge_se: standard error of log10 edge; NaN with one seed.
        edge_flags: the reasons why the edge is unreliable; empty if it is reliable.
    """

    argmax: float
    argmax_se: float
    smoothed: float
    smoothed_se: float
    accuracy: float
    near: tuple[float, float]
    flags: tuple[str, ...]
    edge: float
    edge_se: float
    edge_flags: tuple[str, ...]

    __repr__ = brief_fields

    def lr_star(self, kind: str) -> tuple[float, float]:
        """(η*, standard error of log10 η*) of the kind "smoothed", "argmax" or "edge"."""
        return getattr(self, kind), getattr(self, f"{kind}_se")

    def flags_of(self, kind: str) -> tuple[str, ...]:
        """The reasons why the optimum of this kind is unreliable; empty if it is reliable."""
        return self.edge_flags if kind == "edge" else self.flags


def optimum_of(runs: pd.DataFrame, *, left_out: pd.DataFrame | None = None, chance: float | None = None) -> Optimum:
    """The best learning rate and the edge of one depth.

    The smoothed optimum is the maximum of y = a_s + b u + c u², u = log10 η, with an intercept a_s for each seed s,
    fitted to all seeds at the learning rates in the neighbourhood of the best one. Its standard error is estimated in
    two ways, because seeds differ by more than the noise between learning rates: as the error of -b/2c (delta method
    on the residuals), and as the error of the mean over seeds of the maximum of each seed's own parabola. The larger
    estimate is used. It is limited to the width of the neighbourhood, because the maximum lies inside. The variances
    of both optima include d²/12 for the grid spacing d.

    A diverged replica has no accuracy. A learning rate has no mean if one of its seeds diverged, or if a search skipped
    some of its seeds, because the largest of several means over fewer seeds would be biased upwards.

    Args:
        runs: columns lr, seed, val_accuracy, diverged.
        left_out: columns lr, seed: cells that an adaptive search skipped.
        chance: accuracy of a random guess, which defines the edge; None uses the lowest mean accuracy.

    Raises:
        InputError: every learning rate has a diverged replica.
    """
    return SeedCurves.from_runs(runs, left_out=left_out).optimum(chance)


@dataclass(frozen=True, kw_only=True, eq=False)
class SeedCurves:
    """The runs of one depth as arrays: a curve over learning rates for each seed.

    Attributes:
        seeds: ascending, [S].
        lrs: ascending, [P].
        accuracy: [S, P]; NaN where no accuracy was measured.
        diverged: [S, P].
        complete: whether every cell was either trained or skipped by a search.
        searched: whether a search skipped cells.
    """

    seeds: NDArray[np.int64]
    lrs: Array
    accuracy: Array
    diverged: NDArray[np.bool_]
    complete: bool
    searched: bool

    __repr__ = brief_fields

    @classmethod
    def from_runs(cls, runs: pd.DataFrame, *, left_out: pd.DataFrame | None = None) -> "SeedCurves":
        """The curves of a table of runs; arguments as in :func:`optimum_of`."""
        others = pd.DataFrame(columns=["lr", "seed"]) if left_out is None else left_out
        shape = _grid_shape(runs) if others.empty else None
        if shape is not None:  # a complete grid is not sorted again
            accuracy, diverged = (runs[name].to_numpy().reshape(shape) for name in ("val_accuracy", "diverged"))
            return cls(
                seeds=runs["seed"].to_numpy()[:: shape[1]].astype(np.int64),
                lrs=runs["lr"].to_numpy()[: shape[1]].astype(np.float64),
                accuracy=accuracy.astype(np.float64),
                diverged=diverged.astype(bool),
                complete=True,
                searched=False,
            )
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
        """The curves of all seeds except these."""
        keep = ~np.isin(self.seeds, seeds)
        return replace(self, seeds=self.seeds[keep], accuracy=self.accuracy[keep], diverged=self.diverged[keep])

    def optimum(self, chance: float | None = None) -> Optimum:
        """See :func:`optimum_of`."""
        edge = self.edge(self.lowest if chance is None else chance)
        return self.optimum_with(edge, float(edge_errors([edge])[0]))

    @property
    def lowest(self) -> float:
        """The lowest mean accuracy over the seeds of a learning rate."""
        mean = self._mean(np.where(self.diverged.any(axis=0), np.nan, self.accuracy))
        return float(mean[np.isfinite(mean)].min())

    def edge(self, chance: float) -> Edge:
        """The edge, see :func:`ammup.stats.edge.edge_of`."""
        return edge_of(np.log10(self.lrs), self.accuracy, self.diverged, chance=chance)

    def optimum_with(self, edge: Edge, edge_se: float) -> Optimum:
        """The best learning rate, see :func:`optimum_of`, with an edge and its standard error."""
        u, diverged = np.log10(self.lrs), np.asarray(self.diverged.any(axis=0))
        accuracy = np.where(diverged, np.nan, self.accuracy)
        mean = self._mean(accuracy)
        best = int(np.argmax(mean))
        spacing = float(np.median(np.diff(u))) if u.size > 1 else 0.0
        (low,), (high,) = neighbourhoods(mean[None], np.array([best]))
        near = np.arange(low, high + 1)
        top, error = parabola_top(u[near], accuracy[:, near])
        error = max(error, seed_scatter(u[near], accuracy[:, near]))
        error = min(error, float(np.ptp(u[near])))
        inside = bool(u[near][0] <= top <= u[near][-1])
        smoothed = top if inside else u[best]
        missing = [INCOMPLETE] * (not self.complete)
        flags = [*_flags(best, self.lrs, diverged, smoothed), *[NO_MAXIMUM] * (not inside), *missing]
        argmax, argmax_variance = _mean_argmax(u, accuracy)
        smoothed_variance = error**2 if inside else spacing**2
        return Optimum(
            argmax=float(10**argmax),
            argmax_se=float(np.sqrt(argmax_variance + spacing**2 / 12)),
            smoothed=float(10**smoothed),
            smoothed_se=float(np.sqrt(smoothed_variance + spacing**2 / 12)),
            accuracy=float(mean[best]),
            near=(float(self.lrs[near][0]), float(self.lrs[near][-1])),
            flags=tuple(flags),
            edge=edge.lr,
            edge_se=edge_se,
            edge_flags=(*edge.flags, *missing),
        )

    def _mean(self, accuracy: Array) -> Array:
        """Mean over the seeds of each learning rate.

        It is -∞ if no seed has an accuracy or, after a search, if fewer seeds have one than at another learning rate.
        """
        counted = np.isfinite(accuracy).sum(axis=0)
        if not counted.any():
            raise InputError(ALL_DIVERGED)
        used = counted == counted.max() if self.searched else counted > 0
        return np.where(used, np.nansum(accuracy, axis=0) / np.maximum(counted, 1), -np.inf)


def _grid_shape(runs: pd.DataFrame) -> tuple[int, int] | None:
    """(Number of seeds, number of learning rates) of a complete grid sorted by seed and learning rate, else None."""
    seed, lr = runs["seed"].to_numpy(), runs["lr"].to_numpy()
    points = int(np.argmax(seed != seed[0])) or seed.size
    if seed.size % points:
        return None
    seeds, lrs = seed.reshape(-1, points), lr.reshape(-1, points)
    equal = (seeds == seeds[:, :1]).all() and (lrs == lrs[0]).all()
    ascending = (np.diff(seeds[:, 0]) > 0).all() and (np.diff(lrs[0]) > 0).all()
    return (len(seeds), points) if equal and ascending else None


def _mean_argmax(u: Array, accuracy: Array) -> tuple[float, float]:
    """(Mean over seeds of log10 of each seed's best learning rate, variance of that mean)."""
    best = u[np.nanargmax(accuracy[np.isfinite(accuracy).any(axis=1)], axis=1)]
    return float(best.mean()), float(best.var(ddof=1) / best.size) if best.size > 1 else 0.0


def _flags(best: int, lrs: Array, diverged: NDArray[np.bool_], top: float) -> Iterator[str]:
    if best in (0, lrs.size - 1):
        yield EDGE
    above = int(np.searchsorted(np.log10(lrs), top, side="right"))  # the next learning rate above the optimum
    if diverged[best + 1 : best + 2].any() or diverged[above : above + 1].any():
        yield DIVERGENCE
