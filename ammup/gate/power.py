"""The power calculation of the gate: the number of weight draws with which a correct model passes."""

import numpy as np
from scipy import stats

from ammup.gate.slope_drift import slope_drift
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.equivalence import Estimate, Region
from ammup.stats.intervals import upper_probability

# The probability with which a slope in the middle of the allowed region must pass.
POWER = 0.9
MOST_DRAWS = 10_000


def seeds_needed(law: DepthLaw, margin: float, max_depth_drift: float | None) -> int:
    """Weight draws at each depth with which a slope in the middle of the allowed region passes with probability 0.9.

    The standard errors of the law are scaled with the inverse square root of the number of draws. If there is a limit
    on the drift, a drift of 0 must pass with the same probability.

    Args:
        law: a pilot measurement, which supplies the standard errors.
        margin: half the width of the allowed region of the slope.
        max_depth_drift: limit on the drift of the slope, as in :func:`ammup.check_depth_exponent`.

    Returns:
        At most 10,000; the draws of ``law`` if it has fewer than two or a standard error is not finite.
    """
    errors_and_margins = [(law.power_law.slope_se, margin)]
    if max_depth_drift is not None:
        _, (low, high) = slope_drift(law)
        half_width = (high - low) / 2
        se = half_width / stats.norm.ppf(upper_probability(law.power_law.level))
        errors_and_margins.append((se, max_depth_drift))
    if law.draws < 2 or not all(np.isfinite(se) for se, _ in errors_and_margins):
        return law.draws
    alpha = (1 - law.power_law.level) / 2
    for draws in range(2, MOST_DRAWS):
        shrink = (law.draws / draws) ** 0.5
        powers = [_power(shrink * se, draws, allowed, alpha) for se, allowed in errors_and_margins]
        if min(powers) >= POWER:
            return draws
    return MOST_DRAWS


def _power(se: float, draws: int, margin: float, alpha: float) -> float:
    """Probability that an interval with this standard error lies within ±margin if the true value is 0."""
    estimate = Estimate(value=0.0, se=se, df=max(draws - 1, 1), n=draws)
    return estimate.power(Region.around(0.0, margin), alpha)
