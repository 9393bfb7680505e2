"""The text of a check of the depth exponent: outcome, measured curve, likely cause, and what to increase."""

from typing import TYPE_CHECKING

import numpy as np

from ammup.gate.likely_cause import NAMED_FROM
from ammup.measurement.depth_law import DepthLaw
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS, INCONCLUSIVE

if TYPE_CHECKING:
    from ammup.gate.depth_check import DepthCheck

PREDICATES = {HOLDS: "holds", DOES_NOT_HOLD: "does not hold", INCONCLUSIVE: "is inconclusive"}


def check_text(check: "DepthCheck") -> str:
    """Several lines; see :meth:`ammup.gate.depth_check.DepthCheck.report`."""
    fit = check.law.power_law
    low, high = fit.slope_ci
    lines = [
        f"the depth exponent {PREDICATES[check.outcome]}: slope {fit.slope:.3f} "
        f"[{low:.3f}, {high:.3f}], allowed [{check.region.low:.3f}, {check.region.high:.3f}], "
        f"{check.draws} weight draws at each depth"
    ]
    if check.allowed_drift is not None:
        drift, (below, above) = check.drift
        lines.append(
            f"slope of the deeper half minus that of the shallower half: {drift:.3f} [{below:.3f}, {above:.3f}], "
            f"allowed ±{check.allowed_drift:.3f}"
        )
    lines += [*check.moved, _curve_table(check.law)]
    if check.cause:
        lines.append(f"likely cause: {check.cause}")
    elif check.causes:
        lines.append(
            f"likely cause: not named, because no known fault has a probability of {100 * NAMED_FROM:.0f} % or more"
        )
    if check.outcome == INCONCLUSIVE:
        lines.append(_advice(check))
    return "\n".join(lines)


def _advice(check: "DepthCheck") -> str:
    if check.draws < 2:
        return (
            "there is no interval, because the factory draws nothing at random: let it take a seed= argument and draw "
            "the weights from it"
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
