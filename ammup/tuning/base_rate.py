"""The learning rate of the base depth, given or found by complete runs."""

import math

from ammup.errors import InputError
from ammup.format import count_text
from ammup.stats.intervals import t_quantile
from ammup.tuning.answer import Estimate
from ammup.tuning.evidence import Evidence
from ammup.tuning.plan import FINE, SAFETY, SAFETY_SD, Plan, base_edge, quality, rounded


def estimate(centre: float, half: float, source: str) -> Estimate:
    """An estimate from log10 of a learning rate and of half the width of its interval."""
    return Estimate(lr=rounded(10**centre), interval=interval(centre, half), source=source)


def interval(centre: float, half: float) -> tuple[float, float]:
    """(Low, high) from log10 of the centre and of half of the width."""
    return rounded(10 ** (centre - half)), rounded(10 ** (centre + half))


def base_rate(plan: Plan, evidence: Evidence) -> Estimate:
    """The tuned learning rate of the base.

    Raises:
        InputError: no complete run at the base ended well although no tuned rate was given.
    """
    if plan.lr is not None:
        return Estimate(lr=plan.lr, interval=(plan.lr, plan.lr), source=f"given for depth {plan.base}, taken as exact")
    complete = [run for run in evidence.complete(plan.base) if math.isfinite(quality(run))]
    if not complete:
        raise InputError(
            f"no complete run at the base depth {plan.base} ended well; allow more runs, or give the tuned rate",
            python="pass lr=",
            option="pass --lr",
        )
    best = max(complete, key=quality)
    by = "score" if best.score is not None else "training loss"
    edge = base_edge(plan, evidence, plan.base)
    usual, usual_sd = edge.mean - SAFETY, math.hypot(SAFETY_SD, edge.sd)
    weight = usual_sd**2 / (usual_sd**2 + FINE**2)
    return estimate(
        weight * math.log10(best.lr) + (1 - weight) * usual,
        t_quantile((1 + plan.options.level) / 2, math.inf) * FINE * math.sqrt(weight),
        f"best {by} of {count_text(len(complete), 'complete run')}, {best.lr:g}, and {10**-SAFETY:.2g} of the edge, as "
        "in stored sweeps",
    )
