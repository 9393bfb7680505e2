"""The top of a parabola through noisy curves, with its standard error.

Axes: S seed, P place (learning rate).
"""

import numpy as np

from ammup.arrays import Array

# A parabola that bends by less accuracy than this is flat but for rounding.
FLAT = 1e-12


def parabola_top(u: Array, accuracy: Array) -> tuple[float, float]:
    """(place of the parabola's maximum, its standard error), NaN where it has none."""
    known = np.isfinite(accuracy)
    counts = known.sum(axis=1, keepdims=True)
    x = np.broadcast_to(u - u.mean(), accuracy.shape)
    parameters = 2 + int((counts > 0).sum())
    points = int(known.sum())
    if points < parameters or known.any(axis=0).sum() < 3:
        return np.nan, np.nan

    def within(values: Array) -> Array:
        """Less their mean over each seed's points: what is left of a fit with an intercept for each seed."""
        means = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / np.maximum(counts, 1)
        return np.asarray((values - means)[known])

    design, y = np.column_stack([within(x), within(x**2)]), within(accuracy)
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
    """Standard error of the mean of the seeds' own tops; 0 where fewer than two seeds have one."""
    whole = np.isfinite(accuracy).all(axis=1) & (u.size > 2)
    tops = np.array([parabola_top(u, row[None])[0] for row in accuracy[~whole]])
    if whole.any():  # parabolas of the same design, all at once
        x = u - u.mean()
        _, b, c = np.linalg.lstsq(np.column_stack([np.ones_like(x), x, x**2]), accuracy[whole].T, rcond=None)[0]
        bent = c * np.ptp(u) ** 2 <= -FLAT
        tops = np.concatenate([tops, u.mean() - b[bent] / (2 * c[bent])])
    known = tops[np.isfinite(tops)]
    return float(known.std(ddof=1) / np.sqrt(known.size)) if known.size > 1 else 0.0
