"""Patterns of common faults in a measured curve η*(L). They give a hint in a failure message, not a verdict."""

import numpy as np

from ammup.arrays import Array
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.equivalence import Region

# Between the smallest and the largest depth, log S̄ must deviate from the power law by at least this much to count as
# exponential. A smaller deviation may be a curved power law.
MIN_LOG_DEVIATION = 2.5
# Slopes of at most this size count as independent of depth.
FLAT_SLOPE = 0.35


def likely_cause(law: DepthLaw, region: Region) -> str:
    """The fault whose pattern the curve shows, in words, or "" if none fits. The first match is returned.

    Args:
        law: the measured law of a failed check.
        region: the allowed slopes.
    """
    depths = np.array(list(law.units), dtype=np.float64)
    units = np.array(list(law.units.values()), dtype=np.float64)
    log_S = -2 * np.log(law.curve["lr_star"].to_numpy())
    return _exponential(units, log_S, region) or _flat(law, region) or _other_count(depths, units, log_S, region)


def _exponential(units: Array, log_S: Array, region: Region) -> str:
    """Whether S̄ ∝ L^(-2 slope) exp(rate · L), with the expected slope, fits better than every power law."""
    if len(units) < 3:
        return ""
    rate, rms = _fit_line(units, log_S + 2 * region.centre * np.log(units))
    _, power_law_rms = _fit_line(np.log(units), log_S)
    if abs(rate) * np.ptp(units) < MIN_LOG_DEVIATION or rms >= power_law_rms:
        return ""
    verb, size = ("grows", "large") if rate > 0 else ("shrinks", "small")
    return (
        f"S̄ {verb} exponentially, by a factor of {np.exp(rate):.3g} per unit relative to the power law: the variance "
        f"of the signal is not preserved. The weights are too {size}: look for a wrong gain, a wrong fan-in (is the "
        "kernel cardinality missing?), or residual branches that are not divided by their number. Gradients also "
        "explode in batch norm without an identity skip around it (arXiv 1902.08129)"
    )


def _flat(law: DepthLaw, region: Region) -> str:
    """Whether η* is independent of depth although the allowed slopes are negative."""
    if abs(law.power_law.slope) > FLAT_SLOPE or region.high > -FLAT_SLOPE:
        return ""
    return (
        "η* hardly depends on depth. This happens in a residual net with two or more layers in each branch if all of "
        "them are divided by the number of blocks (scaled='all'), or if the last layer of each branch is zero: divide "
        "only the last layer, or expect a slope near 0"
    )


def _other_count(depths: Array, units: Array, log_S: Array, region: Region) -> str:
    """Whether the slope is allowed when another count of the layers replaces the given depths."""
    counts = {"the counted depth units": units, "L - 1": depths - 1, "L + 1": depths + 1}
    for name, count in counts.items():
        if np.any(count < 1) or np.array_equal(count, depths):
            continue
        slope = -0.5 * _fit_line(np.log(count), log_S)[0]
        if region.low <= slope <= region.high:
            return (
                f"against {name} the slope is {slope:.3f}, which is allowed: the given depth probably includes layers "
                "that are not depth units, such as the readout or a stem, or omits some that are"
            )
    return ""


def _fit_line(x: Array, y: Array) -> tuple[float, float]:
    """Slope and root-mean-square residual of a least-squares line."""
    slope, intercept = np.polyfit(x, y, 1)
    residuals = y - intercept - slope * x
    return float(slope), float(np.sqrt(np.mean(residuals**2)))
