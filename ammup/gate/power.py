"""The power calculation of the gate: the number of weight draws with which a correct model passes."""

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
from scipy import special

from ammup.gate.allowed import Allowed
from ammup.gate.curve import Curve
from ammup.gate.slope_comparison import SlopeComparison
from ammup.gate.slope_drift import slope_drift
from ammup.stats.intervals import t_quantile, upper_probability

# The probability with which the slope of a correct model must pass. The scatter is estimated from few draws, and no
# draws are added once it is estimated too low, so that fewer pass: see benchmarks/gate_repeats.py.
POWER = 0.995
MOST_DRAWS = 10_000
# The standard error and its degrees of freedom, of a number of draws.
Error = Callable[[int], tuple[float, float]]


def seeds_needed(curve: Curve, allowed: Allowed, comparison: SlopeComparison | None = None) -> int:
    """Weight draws at each depth with which the slope of a correct model passes with probability ``POWER``.

    What is compared with the margin is, without an expected slope, the difference from the slope of a baseline: with
    the errors of both, less what draws of the same seeds have in common. A curve that is to be recorded has to be
    compared with other draws later, as many as it has itself. The variances of the curve are used for other numbers of
    draws. If there is a limit on the drift, a drift of 0 must pass with the same probability.

    Args:
        curve: a measurement, which supplies the variances.
        allowed: the allowed slopes.
        comparison: the comparison with the slope of the baseline, if that is the expected one.

    Returns:
        At most 10,000, also if no number suffices because of the error of the baseline; the draws of ``curve`` if it
        has fewer than two or a standard error is not finite.
    """
    criteria = [(_slope_error(curve, allowed, comparison), allowed.margin)]
    if allowed.max_depth_drift is not None:
        _, (low, high) = slope_drift(curve)
        se = (high - low) / 2 / special.ndtri(upper_probability(curve.power_law.level))
        criteria.append((_scaled(se, curve.draws), allowed.max_depth_drift))
    if curve.draws < 2 or not all(np.isfinite(error(curve.draws)[0]) for error, _ in criteria):
        return curve.draws
    probability = upper_probability(allowed.level)

    def enough(draws: int) -> bool:
        return all(_power(*error(draws), margin, probability) >= POWER for error, margin in criteria)

    if enough(curve.draws):  # fewer are not asked for: with draws in common, the power need not grow with their number
        return 2 + bisect_left(range(2, curve.draws), True, key=enough)
    return curve.draws + 1 + bisect_left(range(curve.draws + 1, MOST_DRAWS), True, key=enough)


def _slope_error(curve: Curve, allowed: Allowed, comparison: SlopeComparison | None) -> Error:
    if comparison is not None:
        return lambda draws: (comparison.error(draws), comparison.df(draws))
    if allowed.expected is not None:
        return _scaled(curve.power_law.slope_se, curve.draws)
    return _scaled(SlopeComparison.to_baseline(curve, None).error(), curve.draws, curves=2)


def _scaled(se: float, draws: int, curves: int = 1) -> Error:
    return lambda number: (se * (draws / number) ** 0.5, curves * (number - 1))


def _power(se: float, df: float, margin: float, probability: float) -> float:
    """Probability that the interval of an estimate of 0 is at most ``margin`` from 0."""
    distance = margin - t_quantile(probability, df) * se if se > 0 else margin
    if distance < 0 or se == 0:
        return float(distance >= 0)
    return float(2 * special.ndtr(distance / se) - 1)
