"""The power calculation of the gate: the number of weight draws with which a correct model passes."""

from bisect import bisect_left

import numpy as np
from scipy import stats

from ammup.gate.allowed import Allowed
from ammup.gate.slope_drift import slope_drift
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.intervals import t_quantile, upper_probability

# The probability with which the slope of a correct model must pass.
POWER = 0.98
MOST_DRAWS = 10_000


def seeds_needed(law: DepthLaw, allowed: Allowed) -> int:
    """Weight draws at each depth with which the slope of a correct model passes with probability ``POWER``.

    The standard errors of the law are scaled with the inverse square root of the number of draws. The slope of a
    correct model differs from the centre of the region by the error of its measurement and by the error of the centre,
    if that was measured as well. If there is a limit on the drift, a drift of 0 must pass with the same probability.

    Args:
        law: a measurement, which supplies the standard errors.
        allowed: the allowed slopes.

    Returns:
        At most 10,000, also if no number suffices because of the error of the centre; the draws of ``law`` if it has
        fewer than two or a standard error is not finite.
    """
    criteria = [(law.power_law.slope_se, allowed.margin, allowed.reference_se)]
    if allowed.max_depth_drift is not None:
        _, (low, high) = slope_drift(law)
        half_width = (high - low) / 2
        se = half_width / stats.norm.ppf(upper_probability(law.power_law.level))
        criteria.append((se, allowed.max_depth_drift, lambda se: 0.0))
    if law.draws < 2 or not all(np.isfinite(se) for se, *_ in criteria):
        return law.draws
    probability = upper_probability(law.power_law.level)

    def enough(draws: int) -> bool:
        quantile = t_quantile(probability, draws - 1)
        errors = [se * (law.draws / draws) ** 0.5 for se, *_ in criteria]
        return all(
            _power(se, margin - quantile * se, reference(se)) >= POWER
            for se, (_, margin, reference) in zip(errors, criteria, strict=True)
        )

    return 2 + bisect_left(range(2, MOST_DRAWS), True, key=enough)  # the power grows with the number


def _power(se: float, distance: float, reference_se: float) -> float:
    """Probability that an estimate is at most ``distance`` from a reference with the same true value."""
    error = float(np.hypot(se, reference_se))
    if distance < 0 or error == 0:
        return float(distance >= 0)
    return float(2 * stats.norm.cdf(distance / error) - 1)
