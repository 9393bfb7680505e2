"""Which rule to use: a decision on measured quantities, with the reason and the range of the plausible rules.

docs/transfer.md states the decision and the evidence for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ammup.transfer.curve_shape import CurveShape
from ammup.transfer.rules import EXPONENTS
from ammup.transfer.setting import TrainingSetting


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The recommended rule.

    Attributes:
        rule: its name, or None if no rule is recommended.
        reason: one sentence.
        plausible: rules whose learning rates span the honest uncertainty.
    """

    rule: str | None
    reason: str
    plausible: tuple[str, ...] = ()


def recommend(shape: CurveShape | None, setting: TrainingSetting) -> Recommendation:
    """The recommended rule for a measured shape and a training setting; the first case that applies.

    * An adaptive optimizer, or no measurement: none.
    * The signal grows exponentially over the units: none, because the initialization is wrong.
    * S_l or η* changes exponentially in a net whose signal is bounded by normalization: "L^-1/2", because what is
      measured at initialization relaxes within tens of steps there.
    * Noisy depths: "L^-1". Out of sample it lost least of the rules without training at the target depth, and no
      measured rule lost significantly less (benchmarks/rule_regret.py; narrow, noisy nets, two seeds).
    * η* rises with depth: "constant", because a larger rate for a deeper net is not supported by any trained net.
    * S_l or η* changes exponentially in another net: "L^-1", as for noisy depths.
    * Neighbours that differ by more than a factor of 3: the power law nearest to the measured slope.
    * Otherwise: "measured".

    Args:
        shape: the shape of the curve measured at initialization, or None without a measurement.
        setting: how the net will be trained.
    """
    if setting.adaptive:
        reason = f"no rule holds for the step of {setting.optimizer}; tune at both depths"
        return Recommendation(rule=None, reason=reason)
    if shape is None:
        return Recommendation(rule=None, reason="nothing was measured on which a choice could be based; give measured=")
    if shape.signal:
        return Recommendation(rule=None, reason="the signal grows exponentially: correct the initialization first")
    return _untrusted(shape) or _trusted(shape)


def _untrusted(shape: CurveShape) -> Recommendation | None:
    """The recommendation where the measurement does not decide, or None."""
    if shape.is_exponential and shape.normalised and not shape.rises:
        return Recommendation(
            rule="L^-1/2",
            reason="S_l or η* changes exponentially at initialization while normalization bounds the signal: that "
            "relaxes within tens of steps, and constant and L^-1/2 trained best in such a net",
            plausible=("constant", "L^-1/2"),
        )
    if shape.noisy or (shape.is_exponential and not shape.rises):
        cause = "few weight draws dominate" if shape.noisy else "S_l or η* changes exponentially at initialization"
        return Recommendation(
            rule="L^-1",
            reason=f"{cause}, so the measurement does not decide; L^-1 lost least of the fixed rules in stored sweeps",
            plausible=("L^-1", *_neighbours("L^-1")),
        )
    if shape.rises:
        return Recommendation(
            rule="constant",
            reason="measured η* rises with depth, and no trained net supports a rate above the tuned one",
            plausible=("constant", "L^-1/2"),
        )
    return None


def _trusted(shape: CurveShape) -> Recommendation:
    """The recommendation where the measurement decides."""
    nearest = _nearest(shape.slope)
    if shape.jumps:
        return Recommendation(
            rule=nearest,
            reason="η* of neighbouring depths differs by more than a factor of 3, so the power law nearest to the "
            f"measured slope {shape.slope:.2f} replaces it",
            plausible=(nearest, *_neighbours(nearest)),
        )
    if shape.factor > 1:
        return Recommendation(
            rule="constant", reason="measured η* does not change with depth", plausible=("constant", "measured")
        )
    return Recommendation(
        rule="measured", reason="nothing that was measured contradicts it", plausible=("measured", nearest)
    )


def plausible_range(recommendation: Recommendation, lrs: Mapping[str, tuple[float, ...]]) -> tuple[float, float] | None:
    """The smallest and largest learning rate of the plausible rules and their intervals, or None without a rule.

    Args:
        recommendation: the recommended rule.
        lrs: for each rule its learning rate and the finite ends of its interval.
    """
    values = [lr for rule in recommendation.plausible for lr in lrs[rule]]
    return (min(values), max(values)) if values else None


def _nearest(slope: float) -> str:
    return min(EXPONENTS, key=lambda rule: abs(EXPONENTS[rule] - slope))


def _neighbours(rule: str) -> tuple[str, ...]:
    """The power laws whose exponents differ by 1/2."""
    return tuple(other for other in EXPONENTS if abs(EXPONENTS[other] - EXPONENTS[rule]) == 0.5)
