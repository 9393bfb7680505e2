"""The maximum of a parabola fitted to noisy curves, with its standard error.

Axes: S seed, P learning rate.
"""

import numpy as np

from ammup.arrays import Array

# If the curvature changes the accuracy by less than this over the fitted range, it is a rounding error, and there is no
# maximum.
FLAT = 1e-12


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
