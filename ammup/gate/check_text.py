"""The text of a check of the depth exponent: outcome, measured curve, likely cause, and what to increase."""

from typing import TYPE_CHECKING

import numpy as np

from ammup.gate.decision import region_decimals
from ammup.gate.likely_cause import NAMED_FROM
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.equivalence import Region
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS, INCONCLUSIVE

if TYPE_CHECKING:
    from ammup.gate.check_result import DepthCheck

PREDICATES = {DOES_NOT_HOLD: "does not hold", INCONCLUSIVE: "is inconclusive", HOLDS: "holds"}


def check_text(check: "DepthCheck") -> str:
    """Several lines; see :meth:`ammup.gate.check_result.DepthCheck.report`."""
    criteria = [(check.slope_outcome, _slope_line(check))]
    if check.allowed_drift is not None:
        criteria.append((check.drift_outcome, _drift_line(check)))
    severity = list(PREDICATES)
    lines = [line for _, line in sorted(criteria, key=lambda one: severity.index(one[0]))]
    if check.moved:
        moved = "moved against the baseline: " + "; ".join(check.moved)
        lines.insert(0 if check.outcome == "moved" else 1, moved)
    if check.note:
        lines.append(f"note: {check.note}")
    lines.append(_curve_table(check.law))
    if check.cause:
        lines.append(f"likely cause: {check.cause}")
    elif check.causes:
        probability = f"{100 * NAMED_FROM:.0f} %"
        lines.append(f"likely cause: not named, because no known fault has a probability of {probability} or more")
    if check.compared and check.outcome in ("moved", DOES_NOT_HOLD):
        lines.append(
            "if the change is intended, record the baseline again (--record; pytest: --ammup-record), and commit it"
        )
    if check.outcome == INCONCLUSIVE:  # more weight draws do not change another outcome
        lines.append(_advice(check))
    return "\n".join(lines)


def _slope_line(check: "DepthCheck") -> str:
    fit, digits, region = check.law.power_law, region_decimals(check.region), check.region
    low, high = fit.slope_ci
    slope = f"slope {fit.slope:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    if check.slope_change is None:
        compared = f", allowed [{region.low:.{digits}f}, {region.high:.{digits}f}]"
    elif check.expected is None:
        half = check.slope_change[1][1]
        compared = (
            f"; other draws of the same model differ by up to {half:.{digits}f}, allowed {region.margin:.{digits}f}"
        )
    else:
        difference, (low, high) = check.slope_change
        difference = round(difference, digits) + 0.0  # not -0.000
        compared = (
            f", baseline {region.centre:.{digits}f}; difference, of typical draws, {difference:.{digits}f} "
            f"[{low:.{digits}f}, {high:.{digits}f}] with the errors of both, allowed ±{region.margin:.{digits}f}"
        )
    predicate = PREDICATES[check.slope_outcome]
    return f"the depth exponent {predicate}: {slope}{compared}, {check.draws} weight draws at each depth"


def _drift_line(check: "DepthCheck") -> str:
    limit = check.allowed_drift or 0.0
    digits = region_decimals(Region.around(0.0, limit))
    drift, (low, high) = check.drift
    return (
        f"the limit on the change of the slope with depth {PREDICATES[check.drift_outcome]}: slope of the deeper half "
        f"minus that of the shallower half: {drift:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}], "
        f"allowed ±{limit:.{digits}f}"
    )


def _advice(check: "DepthCheck") -> str:
    if check.draws < 2:
        return (
            "there is no interval, because the factory draws nothing at random: let it take a seed= argument and draw "
            "the weights from it"
        )
    if check.baseline_needed:
        return (
            "the standard error of the baseline is too large for this margin: record it again with about "
            f"{max(check.baseline_needed, check.draws)} seeds, or increase the margin or the width of the models"
        )
    seeds = max(check.needed, 2 * check.draws)
    return (
        f"increase the seeds (about {seeds} would settle a slope in the middle of the region), the width of the models "
        "or the margin"
    )


def _curve_table(law: DepthLaw) -> str:
    curve = law.curve.assign(units=[law.units[depth] for depth in law.curve["depth"]])
    shown = curve[["depth", "units", "lr_star", "se_log10", "local_slope"]]
    return str(shown.to_string(index=False, float_format=lambda v: "" if np.isnan(v) else f"{v:.3g}"))
