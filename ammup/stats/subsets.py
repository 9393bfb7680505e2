"""The best learning rates and the mean curves of many subsets of the seeds of one depth, computed together.

Rates are compared out of sample on many divisions of the seeds. One subset at a time, that took minutes.

Axes: K subset, S seed, P learning rate (ascending).
"""

import numpy as np
from numpy.typing import NDArray

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.stats.parabola import neighbourhoods, parabola_top, parabola_tops
from ammup.stats.peak import ALL_DIVERGED, SeedCurves

Subsets = NDArray[np.bool_]


def all_seeds(curves: SeedCurves) -> Subsets:
    """The subset of all seeds, [1, S]."""
    return np.ones((1, curves.seeds.size), dtype=bool)


def trained(curves: SeedCurves, subsets: Subsets) -> NDArray[np.bool_]:
    """Whether a learning rate trained without divergence on every seed of each subset, [K]."""
    finite = _counts(subsets, np.isfinite(curves.accuracy)) > 0
    return np.asarray((finite & (_counts(subsets, curves.diverged) == 0)).any(axis=1))


def tuned_lrs(curves: SeedCurves, subsets: Subsets, kind: str) -> Array:
    """The best learning rate of each subset, that of :meth:`SeedCurves.optimum` without the other seeds, [K].

    Args:
        curves: the curves of one depth, without cells that a search skipped.
        subsets: the seeds of each subset, [K, S].
        kind: "smoothed" or "argmax".

    Raises:
        InputError: every learning rate has a diverged replica in one of the subsets.
    """
    finite, diverged = np.isfinite(curves.accuracy), _counts(subsets, curves.diverged) > 0
    counts = np.where(diverged, 0.0, _counts(subsets, finite))
    if not counts.any(axis=1).all():
        raise InputError(ALL_DIVERGED)
    u = np.log10(curves.lrs)
    if kind == "argmax":
        return np.asarray(10 ** _mean_argmax(u, curves, subsets, diverged))
    sums = _sums(subsets, np.where(finite, curves.accuracy, 0.0))
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
    best = mean.argmax(axis=1)
    low, high = neighbourhoods(mean, best)
    at = np.arange(u.size)
    near = (at >= low[:, None]) & (at <= high[:, None])
    tops = parabola_tops(u, np.where(near, mean, 0.0), near)
    incomplete = (near & (counts < subsets.sum(axis=1, keepdims=True))).any(axis=1)
    for k in np.flatnonzero(incomplete):  # some cells are missing, so that the seeds have different points
        tops[k] = parabola_top(u[near[k]], curves.accuracy[np.ix_(subsets[k], near[k])])[0]
    inside = (u[low] <= tops) & (tops <= u[high])
    return np.asarray(10 ** np.where(inside, tops, u[best]))


def mean_accuracies(curves: SeedCurves, subsets: Subsets) -> Array:
    """Mean accuracy over each subset at each learning rate, [K, P].

    A diverged replica counts with the lowest mean of a learning rate at which no replica of the subset diverged.
    """
    known = np.isfinite(curves.accuracy) & ~curves.diverged
    sums = _sums(subsets, np.where(known, curves.accuracy, 0.0))
    measured, lost = _counts(subsets, known), _counts(subsets, curves.diverged)
    clean = (measured > 0) & (lost == 0)
    lowest = np.where(clean, sums / np.maximum(measured, 1), np.inf).min(axis=1, keepdims=True)
    lowest = np.where(np.isfinite(lowest), lowest, 0.0)
    count = measured + lost
    return np.asarray(np.where(count > 0, (sums + lost * lowest) / np.maximum(count, 1), lowest))


def _counts(subsets: Subsets, cells: NDArray[np.bool_]) -> Array:
    """Number of seeds of each subset at which a cell is true, [K, P]."""
    return np.asarray(subsets.astype(np.float64) @ cells)


def _sums(subsets: Subsets, values: Array) -> Array:
    """Sums over the seeds of each subset, [K, P].

    They are added in the order of the seeds, not by a matrix product, whose rounding depends on the number of subsets
    and might select another one of several equal maxima.
    """
    return np.asarray((subsets[:, :, None] * values).sum(axis=1))


def _mean_argmax(u: Array, curves: SeedCurves, subsets: Subsets, diverged: NDArray[np.bool_]) -> Array:
    """Mean over the seeds of each subset of log10 of each seed's best learning rate, [K]."""
    usable = np.isfinite(curves.accuracy) & ~diverged[:, None]
    best = np.where(usable, curves.accuracy, -np.inf).argmax(axis=2)
    counted = subsets & usable.any(axis=2)
    return np.asarray(np.where(counted, u[best], 0.0).sum(axis=1) / counted.sum(axis=1))
