"""The rule by which a check decides: from a measured curve, what is allowed, and a baseline, to an outcome.

A decision reads the draws of S̄ and nothing else, so that stored draws are decided exactly as measured ones.
"""

import math
from dataclasses import dataclass

from ammup.gate.allowed import Allowed
from ammup.gate.curve import Curve, StoredCurve
from ammup.gate.curve_change import curve_changes
from ammup.gate.slope_comparison import SlopeComparison
from ammup.gate.slope_drift import slope_drift
from ammup.stats.equivalence import INSIDE, OUTSIDE, Region
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS, INCONCLUSIVE

MOVED = "moved"
_OUTCOMES = {INSIDE: HOLDS, OUTSIDE: DOES_NOT_HOLD}
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The measured intervals, what is allowed, and the outcome.

    Attributes:
        region: the allowed slopes.
        interval: confidence interval of the slope.
        slope_change: the slope minus that of the baseline, and its confidence interval with the errors of both; for a
            recording, that of a later check with as many other draws; None if a slope is expected by its value.
        allowed_drift: the largest allowed change of the slope with depth, or None for no limit.
        drift_interval: confidence interval of that change.
        moved: the differences from the baseline that chance does not explain, in sentences.
    """

    region: Region
    interval: Interval
    slope_change: tuple[float, Interval] | None = None
    allowed_drift: float | None = None
    drift_interval: Interval = (math.nan, math.nan)
    moved: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """One of "holds", "does not hold", "moved" and "inconclusive".

        "does not hold" and "inconclusive" concern the allowed slopes. "moved" means that the number of depth units, or
        the curve beyond both standard errors, differs from the baseline, although the slopes are allowed or the
        interval is too wide to decide.
        """
        outcomes = {self.slope_outcome, self.drift_outcome}
        if DOES_NOT_HOLD in outcomes:
            return DOES_NOT_HOLD
        if self.moved:
            return MOVED
        return INCONCLUSIVE if INCONCLUSIVE in outcomes else HOLDS

    @property
    def slope_outcome(self) -> str:
        """Whether the slope is allowed: "holds", "does not hold" or "inconclusive".

        If the centre of the region is the slope of a baseline, it is an estimate itself, possibly from the same draws.
        Then the interval of the difference decides, which contains the errors of both.
        """
        if self.slope_change is None:
            return placed(self.interval, self.region)
        return placed(self.slope_change[1], Region.around(0.0, self.region.margin))

    @property
    def drift_outcome(self) -> str:
        """Whether the change of the slope with depth is allowed; "holds" if it has no limit."""
        if self.allowed_drift is None:
            return HOLDS
        return placed(self.drift_interval, Region.around(0.0, self.allowed_drift))


def decide(curve: Curve, allowed: Allowed, stored: StoredCurve | None) -> Decision:
    """The decision on a measured curve.

    Args:
        curve: the measured curve.
        allowed: the allowed slopes. Without an expected slope they are those around the slope of the baseline, or of
            the curve itself if there is none.
        stored: the curve of the baseline, at the same depths.
    """
    comparison = None if allowed.expected is not None else SlopeComparison.to_baseline(curve, stored)
    centre = curve.power_law.slope if stored is None else stored.slope
    return Decision(
        region=allowed.region(centre),
        interval=curve.power_law.slope_ci,
        slope_change=None if comparison is None else comparison.with_interval(allowed.level),
        allowed_drift=allowed.max_depth_drift,
        drift_interval=slope_drift(curve)[1],
        moved=() if stored is None else moved(stored, curve),
    )


def moved(stored: StoredCurve, curve: Curve) -> tuple[str, ...]:
    """The differences from the baseline that chance does not explain: number of units, η* of each depth."""
    changes = curve_changes(stored, curve)
    return (*recounted(stored, curve), *(str(change) for change in changes if change.moved))


def recounted(stored: StoredCurve, curve: Curve) -> tuple[str, ...]:
    """The depths at which the number of depth units differs from that of the baseline, in at most one sentence."""
    changed = stored.recounted(curve.units)
    if not changed:
        return ()
    depths, old, new = (
        ", ".join(str(number) for number in numbers)
        for numbers in (changed, [stored.units[depth] for depth in changed], [curve.units[depth] for depth in changed])
    )
    return (f"the number of depth units was {old} and is {new}, at depth{'s' * (len(changed) > 1)} {depths}",)


def placed(interval: Interval, region: Region) -> str:
    """The outcome of an interval and a region, from the numbers as they are printed."""
    digits = region_decimals(region)
    shown = Region(low=round(region.low, digits), high=round(region.high, digits))
    low, high = (end if math.isnan(end) else round(end, digits) for end in interval)
    return _OUTCOMES.get(shown.place((low, high)), INCONCLUSIVE)


def region_decimals(region: Region) -> int:
    """The decimals with which a region and an interval are printed and compared: 3, or more for a small margin."""
    return min(12, max(3, 1 + math.ceil(-math.log10(region.margin))))
