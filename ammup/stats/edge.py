"""The trainability edge: the learning rate above the best one at which accuracy loses half of its rise above chance.

Axes: S seed, P learning rate (ascending).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ammup.arrays import Array
from ammup.stats.intervals import t_quantile

# The edge is where the accuracy falls below chance plus this share of its rise above chance.
SHARE = 0.5
# A seed whose best accuracy exceeds chance by at most this share of chance was not trained at any learning rate.
LEAST_RISE = 0.25
# Two distances are flagged if they exceed this number of decades, a factor of two: that between the first and the last
# crossing of a seed (mean over seeds), and that between the edge and a diverged replica below it.
AMBIGUITY = float(np.log10(2))
# A fall is flagged as gradual if the accuracy takes more than this number of decades (mean over seeds) to fall from the
# first to the second of these shares of its rise above chance.
GRADUAL_SHARES, WIDEST = (0.9, 0.1), 1.0
# Degrees of freedom that the scatter between seeds at all depths contributes to the variance of one depth.
POOLED_DF = 4
NORMAL = t_quantile(0.975, np.inf)
TINY = 1e-12

NO_RISE, NO_CLIFF = "accuracy does not rise above chance", "no cliff inside the grid"
AT_END, AT_START = "cliff at the end of the grid", "best at the start of the grid"
SEVERAL, DIVERGED = "several crossings", "divergence far below the edge"
GRADUAL = "gradual fall"


@dataclass(frozen=True, kw_only=True)
class Edge:
    """The edge at one depth.

    Attributes:
        lr: geometric mean of the edges of all seeds. The edge of a seed without a fall is the largest learning rate.
        scatter: variance of log10 of the edges of the seeds; 0 with fewer than two edges.
        seeds: number of seeds with an edge.
        grid: variance that is due to the grid: d²/12, where d is the distance of the two grid points around the edge
            (mean over seeds).
        flags: the reasons why the edge is unreliable; empty if it is reliable.
    """

    lr: float
    scatter: float
    seeds: int
    grid: float
    flags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Falls:
    """The falls of the curves of all seeds, each field [S]; positions are log10 of learning rates, NaN without a fall.

    Attributes:
        first: first crossing above the best learning rate.
        last: last crossing, which is the edge.
        gap: distance of the grid points around the last crossing.
        width: distance from the last crossing of 90 % of the rise above chance to the first crossing of 10 % above the
            edge, or to the end of the grid.
        at_start: whether the best learning rate is the smallest.
        at_end: whether the last crossing is between the last two learning rates of the grid.
        rise: best accuracy minus chance.
    """

    first: Array
    last: Array
    gap: Array
    width: Array
    at_start: NDArray[np.bool_]
    at_end: NDArray[np.bool_]
    rise: Array


def edge_of(
    u: Array, accuracy: Array, diverged: NDArray[np.bool_], *, chance: float, least_rise: float = LEAST_RISE
) -> Edge:
    """The edge of the curves of all seeds.

    The edge of a seed is the last point above its best learning rate at which the accuracy falls below half of its rise
    above chance, interpolated linearly in log η between the grid points. A diverged replica has the accuracy of chance.

    Args:
        u: log10 of the learning rates, [P].
        accuracy: NaN where a replica diverged or was not trained, [S, P].
        diverged: [S, P].
        chance: accuracy of a random guess.
        least_rise: a seed whose best accuracy exceeds chance by at most this share of chance is flagged.
    """
    values = np.where(diverged, chance, accuracy)
    falls = _falls(u, values, chance)
    found = np.isfinite(falls.last)
    edges, gaps = falls.last[found], falls.gap[found]
    position = float(np.where(found, falls.last, u[-1]).mean())
    return Edge(
        lr=float(10**position),
        scatter=float(edges.var(ddof=1)) if edges.size > 1 else 0.0,
        seeds=edges.size,
        grid=float((gaps**2).mean() / 12) if edges.size else 0.0,
        flags=tuple(
            _flags(falls, least=least_rise * abs(chance), early=bool(diverged[:, u < position - AMBIGUITY].any()))
        ),
    )


def seed_edges(u: Array, accuracy: Array, diverged: NDArray[np.bool_], *, chance: float) -> Array:
    """log10 of the edge of each seed, [S], of which :func:`edge_of` takes the mean; NaN for a seed without a fall."""
    return _falls(u, np.where(diverged, chance, accuracy), chance).last


def edge_errors(edges: list[Edge]) -> Array:
    """Standard error of log10 of the edge at each depth; NaN if no depth has several seeds.

    The variance between seeds at one depth is estimated with few degrees of freedom. So it is averaged with the
    variance pooled over all depths, which counts as POOLED_DF further degrees of freedom. The error is enlarged so that
    ± 1.96 standard errors are the 95 % interval of Student's t. The grid adds the variance d²/12. If the seeds scatter
    by less than the distance d of the grid points, this error is the same for all seeds. If they scatter by more, it
    averages out over the seeds (as with dither).
    """
    scatter, seeds, grid = (np.array([getattr(edge, name) for edge in edges]) for name in ("scatter", "seeds", "grid"))
    own = np.maximum(seeds - 1, 0)
    if not own.any():
        return np.full(len(edges), np.nan)
    pooled = float(own @ scatter / own.sum())
    variance = (own * scatter + POOLED_DF * pooled) / (own + POOLED_DF)
    enlarged = np.array([t_quantile(0.975, float(df)) / NORMAL for df in np.minimum(own + POOLED_DF, own.sum())])
    shared = grid * np.exp(-4 * np.pi**2 * variance / np.maximum(12 * grid, TINY))
    return np.asarray(np.sqrt((enlarged**2 * variance + grid) / np.maximum(seeds, 1) + shared))


def _falls(u: Array, values: Array, chance: float) -> _Falls:
    """The falls of all curves; NaN marks learning rates that were not trained. A seed without a run does not rise."""
    trained = np.isfinite(values)
    seeds = np.arange(len(values))
    best = np.where(trained, values, -np.inf).argmax(axis=1)
    rise = np.where(trained.any(axis=1), values[seeds, best] - chance, 0.0)
    before, after = _neighbours(trained)
    crossings = [_Crossings.of(u, values, before, after, chance + share * rise) for share in (SHARE, *GRADUAL_SHARES)]
    edge, high, low = crossings
    first, last = edge.first(best), edge.last(best)
    # The place of the last crossing; from there on, the curve is compared with the lowest level.
    place = edge.last_place(best)
    ends = low.first(place)
    greatest = np.where(trained, u, -np.inf).max(axis=1)
    width = np.where(np.isfinite(ends), ends, greatest) - high.last(best)
    upper = after[seeds, place]
    return _Falls(
        first=first,
        last=last,
        gap=np.where(np.isfinite(last), u[upper] - u[place], np.nan),
        width=np.where(np.isfinite(last), width, np.nan),
        at_start=trained.any(axis=1) & (best == 0),
        at_end=np.isfinite(last) & (upper == u.size - 1),
        rise=rise,
    )


def _neighbours(trained: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """(Whether a trained learning rate has a greater trained one, the index of the next one), each [S, P]."""
    n = trained.shape[1]
    places = np.where(trained, np.arange(n), n)
    following = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]  # the first trained one from here on
    after = np.concatenate([following[:, 1:], np.full((len(trained), 1), n)], axis=1)
    return trained & (after < n), np.minimum(after, n - 1)


@dataclass(frozen=True, kw_only=True)
class _Crossings:
    """Where the curve of each seed falls through its level.

    Attributes:
        falls: whether it falls between a learning rate and the next trained one, [S, P].
        position: interpolated position of each fall, [S, P].
    """

    falls: NDArray[np.bool_]
    position: Array

    @classmethod
    def of(
        cls, u: Array, values: Array, before: NDArray[np.bool_], after: NDArray[np.intp], levels: Array
    ) -> "_Crossings":
        above = values - levels[:, None]
        below = np.take_along_axis(above, after, axis=1)
        falls = before & (above >= 0) & (below < 0)
        share = np.divide(above, above - below, out=np.zeros_like(above), where=falls)
        return cls(falls=falls, position=u + (u[after] - u) * share)

    def _from(self, start: NDArray[np.intp]) -> NDArray[np.bool_]:
        return self.falls & (np.arange(self.falls.shape[1]) >= start[:, None])

    def first(self, start: NDArray[np.intp]) -> Array:
        """The position of the first fall from ``start`` on, NaN without one."""
        return self._at(self._from(start).argmax(axis=1), start)

    def last(self, start: NDArray[np.intp]) -> Array:
        """The position of the last fall from ``start`` on, NaN without one."""
        return self._at(self.last_place(start), start)

    def last_place(self, start: NDArray[np.intp]) -> NDArray[np.intp]:
        """The index of the last fall from ``start`` on; without one, that of the greatest learning rate."""
        return np.asarray(self.falls.shape[1] - 1 - self._from(start)[:, ::-1].argmax(axis=1))

    def _at(self, place: NDArray[np.intp], start: NDArray[np.intp]) -> Array:
        """The position at a place for each seed with a fall from ``start`` on."""
        found = self._from(start).any(axis=1)
        return np.where(found, self.position[np.arange(place.size), place], np.nan)


def _flags(falls: _Falls, *, least: float, early: bool) -> Iterator[str]:
    """The flags of a depth; ``early`` is whether a replica diverged far below the edge, ``least`` the smallest rise."""
    distance = falls.last - falls.first
    if (falls.rise <= least).any():
        yield NO_RISE
    if np.isnan(distance).any():
        yield NO_CLIFF
    if falls.at_end.any():
        yield AT_END
    if falls.at_start.any():
        yield AT_START
    if np.isfinite(distance).any() and np.nanmean(distance) > AMBIGUITY:
        yield SEVERAL
    if early:
        yield DIVERGED
    if np.isfinite(falls.width).any() and np.nanmean(falls.width) > WIDEST:
        yield GRADUAL
