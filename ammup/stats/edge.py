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
class _Fall:
    """The fall of one seed's curve; positions are log10 of learning rates, NaN without a fall.

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

    first: float
    last: float
    gap: float
    width: float
    at_start: bool
    at_end: bool
    rise: float


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
    falls = [_fall(u, row, chance) for row in values]
    last = np.array([fall.last for fall in falls])
    edges = last[np.isfinite(last)]
    position = float(np.where(np.isfinite(last), last, u[-1]).mean())
    gaps = np.array([fall.gap for fall in falls])[np.isfinite(last)]
    return Edge(
        lr=float(10**position),
        scatter=float(edges.var(ddof=1)) if edges.size > 1 else 0.0,
        seeds=edges.size,
        grid=float((gaps**2).mean() / 12) if edges.size else 0.0,
        flags=tuple(
            _flags(falls, least=least_rise * abs(chance), early=bool(diverged[:, u < position - AMBIGUITY].any()))
        ),
    )


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


def _fall(u: Array, values: Array, chance: float) -> _Fall:
    """The fall of one curve; NaN marks learning rates that were not trained."""
    trained = np.isfinite(values)
    x, y = u[trained], values[trained]
    if y.size == 0:
        return _Fall(first=np.nan, last=np.nan, gap=np.nan, width=np.nan, at_start=False, at_end=False, rise=0.0)
    best = int(np.argmax(y))
    places, crossings = _crossings(x, y, best, chance + SHARE * (y[best] - chance))
    first, last = (crossings[0], crossings[-1]) if places.size else (np.nan, np.nan)
    end = int(places[-1]) if places.size else -1
    return _Fall(
        first=float(first),
        last=float(last),
        gap=float(x[end + 1] - x[end]) if places.size else np.nan,
        width=_width(x, y, best, chance) if places.size else np.nan,
        at_start=bool(x[best] == u[0]),
        at_end=bool(places.size and x[end + 1] == u[-1]),
        rise=float(y[best] - chance),
    )


def _crossings(x: Array, y: Array, start: int, level: float) -> tuple[NDArray[np.intp], Array]:
    """(Index of the grid point before it, interpolated position) of each fall through a level, from ``start`` on."""
    above = y - level
    places = np.flatnonzero((above[start:-1] >= 0) & (above[start + 1 :] < 0)) + start
    return places, x[places] + np.diff(x)[places] * above[places] / (above[places] - above[places + 1])


def _width(x: Array, y: Array, best: int, chance: float) -> float:
    """See ``_Fall.width``."""
    high, low = (chance + share * (y[best] - chance) for share in GRADUAL_SHARES)
    _, begins = _crossings(x, y, best, high)
    edge_places, _ = _crossings(x, y, best, chance + SHARE * (y[best] - chance))
    _, ends = _crossings(x, y, int(edge_places[-1]), low)
    return float((ends[0] if ends.size else x[-1]) - begins[-1])


def _flags(falls: list[_Fall], *, least: float, early: bool) -> Iterator[str]:
    """The flags of a depth; ``early`` is whether a replica diverged far below the edge, ``least`` the smallest rise."""
    distance = np.array([fall.last - fall.first for fall in falls])
    if any(fall.rise <= least for fall in falls):
        yield NO_RISE
    if np.isnan(distance).any():
        yield NO_CLIFF
    if any(fall.at_end for fall in falls):
        yield AT_END
    if any(fall.at_start for fall in falls):
        yield AT_START
    if np.isfinite(distance).any() and np.nanmean(distance) > AMBIGUITY:
        yield SEVERAL
    if early:
        yield DIVERGED
    width = np.array([fall.width for fall in falls])
    if np.isfinite(width).any() and np.nanmean(width) > WIDEST:
        yield GRADUAL
