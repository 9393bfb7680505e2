"""The maximum of a parabola fitted to noisy curves around their best point, with its standard error.

Axes: K curve, S seed, P learning rate.
"""

import numpy as np
from numpy.typing import NDArray

from ammup.arrays import Array

# The neighbourhood of a maximum: adjacent learning rates whose mean accuracy lies at most this share of the curve's
# range below it.
NEAR = 0.25
# The smallest number of points in a neighbourhood: two more than a parabola has coefficients, so that its error can be
# estimated from the residuals.
FEWEST = 5

# If the curvature changes the accuracy by less than this over the fitted range, it is a rounding error, and there is no
# maximum.
FLAT = 1e-12


def neighbourhoods(mean: Array, best: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The (first, last) index of the neighbourhood of the best point of each curve, each [K].

    A neighbourhood consists of adjacent indices around the best one, above the threshold. It has at least FEWEST of
    them if the curve has as many finite ones next to each other.

    Args:
        mean: [K, P]; -∞ where a learning rate has no mean.
        best: index of the largest mean of each curve, [K].
    """
    count, last = mean.shape[1], np.full(best.size, mean.shape[1] - 1)
    at, finite = np.arange(count), np.isfinite(mean)
    top = np.take_along_axis(mean, best[:, None], axis=1)
    below = ~(mean >= top - NEAR * (top - np.where(finite, mean, np.inf).min(axis=1, keepdims=True)))
    low = np.where(below & (at < best[:, None]), at, -1).max(axis=1) + 1
    high = np.where(below & (at > best[:, None]), at, count).min(axis=1) - 1
    curve = np.arange(best.size)
    for _ in range(FEWEST - 1):
        short = high - low + 1 < FEWEST
        can_lower = short & (low > 0) & finite[curve, np.maximum(low - 1, 0)]
        can_raise = short & (high < last) & finite[curve, np.minimum(high + 1, last)]
        lower = can_lower & ((best - low <= high - best) | ~can_raise)
        low, high = low - lower, high + (can_raise & ~lower)
    return low, high


def parabola_tops(u: Array, mean: Array, near: NDArray[np.bool_]) -> Array:
    """Positions of the maxima of parabolas fitted to mean curves, [K]; NaN if a parabola has no maximum.

    If every seed has a value at every point of the neighbourhood, the fit of :func:`parabola_top` to all seeds has the
    coefficients of this fit to their mean.

    Args:
        u: log10 of the learning rates, [P].
        mean: [K, P].
        near: the points that each parabola is fitted to, [K, P].
    """
    counts = near.sum(axis=1, keepdims=True)

    def centred(values: Array) -> Array:
        return np.where(near, values - np.where(near, values, 0.0).sum(axis=1, keepdims=True) / counts, 0.0)

    x = centred(np.broadcast_to(u, mean.shape))
    z, y = centred(x**2), centred(mean)
    xx, xz, zz, xy, zy = ((a * b).sum(axis=1) for a, b in ((x, x), (x, z), (z, z), (x, y), (z, y)))
    enough = counts[:, 0] > 2  # fewer points do not determine a parabola
    determinant = np.where(enough, xx * zz - xz**2, 1.0)
    b, c = (xy * zz - zy * xz) / determinant, (zy * xx - xy * xz) / determinant
    found = enough & (c * np.ptp(x, axis=1) ** 2 <= -FLAT)
    centre = np.where(near, u, 0.0).sum(axis=1) / counts[:, 0]
    return np.asarray(np.where(found, centre - b / np.where(found, 2 * c, 1.0), np.nan))


def parabola_top(u: Array, accuracy: Array) -> tuple[float, float]:
    """(position of the parabola's maximum, its standard error), both NaN if the parabola has no maximum.

    Slope and curvature are shared between seeds, and each seed has its own intercept. The standard error is 0 if there
    are as many points as coefficients.

    Args:
        u: log10 of the learning rates, [P].
        accuracy: [S, P]; NaN where no accuracy was measured.
    """
    finite = np.isfinite(accuracy)
    counts = finite.sum(axis=1, keepdims=True)
    x = np.broadcast_to(u - u.mean(), accuracy.shape)
    parameters = 2 + int((counts > 0).sum())
    points = int(finite.sum())
    if points < parameters or finite.any(axis=0).sum() < 3:
        return np.nan, np.nan

    def centred(values: Array) -> Array:
        """Values minus their mean over the seed's points, which eliminates the seeds' intercepts from the fit."""
        means = np.where(finite, values, 0.0).sum(axis=1, keepdims=True) / np.maximum(counts, 1)
        return np.asarray((values - means)[finite])

    design, y = np.column_stack([centred(x), centred(x**2)]), centred(accuracy)
    b, c = coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    if c * np.ptp(u) ** 2 > -FLAT:
        return np.nan, np.nan
    top, df = float(u.mean() - b / (2 * c)), points - parameters
    if df < 1:
        return top, 0.0
    residual = y - design @ coefficients
    covariance = np.linalg.inv(design.T @ design) * (residual @ residual / df)
    gradient = np.array([-1 / (2 * c), b / (2 * c**2)])
    return top, float(np.sqrt(gradient @ covariance @ gradient))


def seed_scatter(u: Array, accuracy: Array) -> float:
    """Standard error of the mean of the maxima of each seed's own parabola; 0 if fewer than two seeds have one."""
    complete = np.isfinite(accuracy).all(axis=1) & (u.size > 2)
    tops = np.array([parabola_top(u, row[None])[0] for row in accuracy[~complete]])
    if complete.any():  # these parabolas have one design matrix, so one call fits them all
        x = u - u.mean()
        design = np.column_stack([np.ones_like(x), x, x**2])
        _, b, c = np.linalg.lstsq(design, accuracy[complete].T, rcond=None)[0]
        concave = c * np.ptp(u) ** 2 <= -FLAT
        tops = np.concatenate([tops, u.mean() - b[concave] / (2 * c[concave])])
    finite = tops[np.isfinite(tops)]
    return float(finite.std(ddof=1) / np.sqrt(finite.size)) if finite.size > 1 else 0.0
