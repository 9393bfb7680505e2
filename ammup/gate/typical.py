"""What two curves are compared by: typical η*, the geometric mean over weight draws, if both state their draws.

S̄ of a draw is close to log-normal, and in narrow and deep nets a few draws dominate its mean: with a standard deviation
of log S̄ of 2, the mean of 64 draws has a standard error of 80 %, which 64 draws cannot estimate either. The mean of
log S̄ has one of 25 %, and Student's t holds for it. It serves as well to see whether a model has changed, though not
to state at which rate the mean of S̄ is 1. Where S̄ of a draw is 0, or the draws are not stored, the means are compared.

Axes: draw, depth.
"""

import numpy as np

from ammup.arrays import Array
from ammup.gate.curve import Curve, CurvePoint, StoredCurve, curve_points, slope_weights
from ammup.stats.power_law import geometric_mean_of

Points = dict[int, CurvePoint]


def is_typical(*curves: Curve | StoredCurve) -> bool:
    """Whether the curves can be compared by typical η*."""
    return all(curve.S_bar is not None and bool((curve.S_bar > 0).all()) for curve in curves)


def typical_points(curve: Curve | StoredCurve) -> Points:
    """Typical η* of each depth."""
    assert curve.S_bar is not None
    return curve_points(curve.S_bar**-0.5, curve.points, geometric_mean_of)


def compared_points(old: StoredCurve, new: Curve) -> tuple[Points, Points]:
    """η* of both curves, by the same estimate."""
    if is_typical(old, new):
        return typical_points(old), typical_points(new)
    return dict(old.points), new.points


def slope_values(S_bar: Array, depths: tuple[int, ...], *, typical: bool) -> Array:
    """The contribution of each draw to the slope of log η* on log L, (draw,).

    The slope of typical η* is their mean. That of η* from the mean of S̄ is their mean except for a constant, to first
    order (infinitesimal jackknife). The depths of one seed belong to one draw, because models of different depths may
    share weights.
    """
    logs = np.log(S_bar) if typical else S_bar / S_bar.mean(axis=0)
    values: Array = logs @ slope_weights(depths) / (-2 * np.log(10))
    return values
