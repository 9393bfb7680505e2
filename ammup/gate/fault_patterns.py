"""Faults that a curve η*(L) may look like: a hint for whoever reads a failure, and no verdict."""

import numpy as np

from ammup.arrays import Array
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.equivalence import Region

# Over all depths S̄ must leave the power law by such a factor (a logarithm), or a bent curve would do.
EXCESS = 2.5
FLAT = 0.35


def likely_cause(law: DepthLaw, region: Region) -> str:
    """The first pattern that fits, in words, or nothing."""
    depths = np.array(list(law.units), dtype=np.float64)
    log_S = -2 * np.log(law.curve["lr_star"].to_numpy())
    units = np.array(list(law.units.values()), dtype=np.float64)
    return _exponential(units, log_S, region) or _flat(law, region) or _offset(depths, units, log_S, region)


def _exponential(units: Array, log_S: Array, region: Region) -> str:
    """S̄ ∝ L^(-2 slope) exp(rate · L) fits better than any power law."""
    if len(units) < 3:
        return ""
    rate, left = _line(units, log_S + 2 * region.centre * np.log(units))
    _, left_by_power_law = _line(np.log(units), log_S)
    if abs(rate) * np.ptp(units) < EXCESS or left >= left_by_power_law:
        return ""
    verb, size = ("grows", "large") if rate > 0 else ("shrinks", "small")
    return (
        f"S̄ {verb} exponentially, by a factor of {np.exp(rate):.3g} a unit beyond the power law: the variance of the "
        f"signal is not preserved. Weights are too {size}: look for a wrong gain or fan-in (kernel cardinality left "
        "out?), or residual branches that are not divided by their number; gradients also explode through batch norm "
        "that no plain skip passes by (arXiv 1902.08129)"
    )


def _flat(law: DepthLaw, region: Region) -> str:
    """η* does not depend on depth."""
    if abs(law.power_law.slope) > FLAT or region.high > -FLAT:
        return ""
    return (
        "η* hardly depends on depth. A residual net with two or more layers in each branch does so where every one of "
        "them is divided by the number of blocks (scaled='all') or where the last one of each is zero: divide the last "
        "one alone, or expect a slope near 0"
    )


def _offset(depths: Array, units: Array, log_S: Array, region: Region) -> str:
    """The slope is right against another count of the same units."""
    counts = {"the counted depth units": units, "L - 1": depths - 1, "L + 1": depths + 1}
    for name, count in counts.items():
        if np.all(count >= 1) and not np.array_equal(count, depths):
            slope = -0.5 * _line(np.log(count), log_S)[0]
            if region.low <= slope <= region.high:
                return (
                    f"against {name} the slope is {slope:.3f}, which is allowed: the depth that was given counts "
                    "something else than the units, such as the readout or a stem"
                )
    return ""


def _line(x: Array, y: Array) -> tuple[float, float]:
    """(slope, root mean square of what is left) of least squares."""
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(np.sqrt(np.mean((y - intercept - slope * x) ** 2)))
