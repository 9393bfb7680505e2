"""The predicted ratio of the learning rates at target and base, before any training at the target depth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ammup.measurement.depth_law import DepthLaw
from ammup.stats.intervals import t_quantile
from ammup.stats.power_law import fit_power_law
from ammup.transfer.carry import transfer_table
from ammup.tuning.settings import RunSetting, SettingChange

NORMAL = t_quantile(0.975, math.inf)
# Errors of the rule L^-1 over the six sweeps in baselines/sweeps (24 pairs of depths, ratios 1.3 to 4): root mean
# square 0.25 to 0.28 decades for the optimum and the edge, 0.7 decades for each decade of depth.
RULE_SD = 0.7
LEAST_SD = 0.1  # decades; no rule is known to be better, and optima of two seeds scatter by more
# The edges of several base depths are extrapolated up to this standard deviation, in decades.
LARGEST_SD = 0.3
# The least standard deviation of a rule that is measured at initialization. The ratios of 2/λ missed those of the edges
# in the stored sweeps of narrow nets by 0.4 decades (root mean square), and those of wide nets by less than 0.1.
MEASURED_SD = 0.2


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A normal distribution of log10 of the ratio lr(target) / lr(base).

    Attributes:
        log_ratio: its mean.
        sd: its standard deviation.
        rule: name of the rule.
        reason: why this rule, and where its error comes from, in a sentence.
    """

    log_ratio: float
    sd: float
    rule: str
    reason: str

    def changed(self, change: SettingChange) -> "Prediction":
        """The prediction for another training setting at the target."""
        return Prediction(
            log_ratio=self.log_ratio + math.log10(change.factor),
            sd=math.hypot(self.sd, change.spread / 2),
            rule=self.rule,
            reason=self.reason,
        )


def predict(
    base: int,
    target: int,
    *,
    measured: Sequence[DepthLaw] = (),
    edges: Mapping[int, tuple[float, float]],
    setting: RunSetting,
) -> Prediction:
    """The best of the predictions that can be made.

    In this order: the edges of several base depths, unless their extrapolation is too uncertain; the recommendation for
    what was measured; the fixed rule.

    Args:
        base: the depth of the tuned learning rate.
        target: the depth that the prediction is for.
        measured: laws measured at initialization, of both depths.
        edges: for each base depth, log10 of its edge and the standard deviation.
        setting: how the target is trained.
    """
    extrapolated = _extrapolated(base, target, edges) if len(edges) > 1 else None
    if extrapolated is not None and extrapolated.sd <= LARGEST_SD:
        return extrapolated
    recommended = _recommended(base, target, measured, setting) if measured and not setting.adaptive else None
    return recommended or _fixed(base, target, setting)


def _fixed(base: int, target: int, setting: RunSetting) -> Prediction:
    decades = math.log10(target / base)
    return Prediction(
        log_ratio=-decades,
        sd=max(RULE_SD * abs(decades), LEAST_SD),
        rule="L^-1",
        reason=_evidence(setting),
    )


def _evidence(setting: RunSetting) -> str:
    """What supports the fixed rule."""
    if setting.optimizer == "adamw":
        return "the fixed rule that lost least in the replay of one small vision transformer (six seeds) and with SGD"
    if setting.adaptive:
        return f"the fixed rule that lost least with SGD; nothing supports a rule for {setting.optimizer}"
    return "the fixed rule that lost least in the stored sweeps, whose errors give the interval"


def _extrapolated(base: int, target: int, edges: Mapping[int, tuple[float, float]]) -> Prediction:
    """The power law through the edges of several base depths."""
    depths = sorted(edges)
    law = fit_power_law(depths, [10 ** edges[depth][0] for depth in depths], se=[edges[depth][1] for depth in depths])
    decades = math.log10(target / base)
    (_, _), (_, variance) = law.covariance
    return Prediction(
        log_ratio=law.slope * decades,
        sd=max(math.hypot(math.sqrt(variance) * decades, LEAST_SD), LEAST_SD),
        rule="edge-fit",
        reason=f"power law through the edges of the base depths {', '.join(map(str, depths))}, slope {law.slope:.2f}",
    )


def _recommended(base: int, target: int, measured: Sequence[DepthLaw], setting: RunSetting) -> Prediction | None:
    """The recommendation of `ammup transfer` for what was measured, or None if it recommends no rule."""
    arguments = {argument_of(law): law for law in measured}
    table = transfer_table(
        1.0, base, target, measured=arguments.get("measured"), sharpness=arguments.get("sharpness"), setting=setting
    )
    advice = table.attrs["recommendations"][0]
    if advice["rule"] is None:
        return None
    spread = math.log10(advice["high"] / advice["low"]) / 2 / NORMAL
    return Prediction(
        log_ratio=math.log10(advice["lr"]),
        sd=max(spread, MEASURED_SD),
        rule=advice["rule"],
        reason=f"recommended by `ammup transfer`: {advice['reason']}; the interval contains all plausible rules",
    )


def argument_of(law: DepthLaw) -> str:
    """The argument of transfer_table that takes this law."""
    return "sharpness" if law.measure == "sharpness" else "measured"
