"""How much accuracy an answer is expected to lose against a full grid at the target depth."""

import math
from dataclasses import dataclass

from ammup.tuning.settings import RunSetting


@dataclass(frozen=True, kw_only=True)
class ExpectedLoss:
    """Relative accuracy lost in a replay of the whole procedure.

    Attributes:
        mean: mean over families, depths and seeds.
        worst: the largest value.
        cases: the number of cases.
        source: where the numbers come from.
    """

    mean: float
    worst: float
    cases: int
    source: str


SOURCE = "replay on stored sweeps of five small families, plain SGD, two seeds (benchmarks/peers/tuning.py)"
# By number of probes at the target depth: mean and worst, as that script prints. The differences between the means are
# smaller than the scatter of two seeds. The rule L^-1, which decides without probes, was chosen from the same sweeps,
# so its mean is too good.
REPLAYED = {0: (0.000, 0.080), 1: (0.017, 0.178), 3: (0.003, 0.142), 10: (-0.001, 0.086)}
CASES = 20


# Without a probe that trained, the answer is that of the rule, and only this one was replayed.
RULE = "L^-1"


def expected_loss(probes: int, rule: str, setting: RunSetting) -> ExpectedLoss:
    """The loss in the replay with the largest number of probes that is not larger than ``probes``.

    The numbers are NaN, and the source says why, if the replay does not apply.

    Args:
        probes: probes at the target; 0 if none of them trained.
        rule: the rule of the prediction.
        setting: how the target is trained.
    """
    reason = ""
    if setting.adaptive:
        reason = f"no stored sweep was trained with {setting.optimizer}"
    elif not probes and rule != RULE:
        reason = f"the rule {rule} without a probe that trained was not replayed"
    if reason:
        return ExpectedLoss(mean=math.nan, worst=math.nan, cases=0, source=reason)
    mean, worst = REPLAYED[max(count for count in REPLAYED if count <= probes)]
    return ExpectedLoss(mean=mean, worst=worst, cases=CASES, source=SOURCE)
