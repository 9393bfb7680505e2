"""The change of the slope of log η* on log L between the shallower and the deeper depths."""

import numpy as np

from ammup.gate.curve import Curve, slope_weights
from ammup.stats.intervals import upper_probability
from ammup.stats.skewness import SYMMETRIC, of_log_lr_star


def slope_drift(curve: Curve) -> tuple[float, tuple[float, float]]:
    """The slope of the deeper half of the depths minus that of the shallower half, and its confidence interval.

    With an odd number of depths the middle one belongs to neither half. The interval comes from the scatter between
    weight draws and has the level of the curve's power law. All three numbers are NaN for fewer than four depths.
    """
    half = len(curve.depths) // 2
    if half < 2:
        return float("nan"), (float("nan"), float("nan"))
    points = [curve.points[depth] for depth in curve.depths]
    weights = np.zeros(len(points))
    weights[:half] -= slope_weights(curve.depths[:half])
    weights[-half:] += slope_weights(curve.depths[-half:])
    drift = float(weights @ np.log10([point.lr_star for point in points]))
    errors = np.array([point.se for point in points])
    error = float(np.linalg.norm(weights * errors))
    # A geometric mean, as that of the edge of stability, is not skewed.
    skewed = curve.power_law.skewness != SYMMETRIC
    skewness = of_log_lr_star(weights, errors, [point.draws for point in points]) if skewed else SYMMETRIC
    probability = upper_probability(curve.power_law.level)
    return drift, skewness.interval(drift, error, df=max(curve.draws - 1, 1), probability=probability)
