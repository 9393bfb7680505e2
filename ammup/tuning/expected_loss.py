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


# By rule of the prediction, as `python -m benchmarks.peers.tuning` prints with three probes; the mean is over families.
# The accuracy is that of other seeds than those that the method sees. The differences between rules of a family are
# often smaller than the scatter of the seeds.
SGD = ExpectedLoss(
    mean=0.010, worst=0.236, cases=46,
    source="replay of six small families, five with plain SGD and one with momentum (benchmarks/peers/tuning.py)",
)  # fmt: skip
ADAMW = ExpectedLoss(
    mean=-0.011, worst=-0.008, cases=6,
    source="replay of one small vision transformer with AdamW (benchmarks/peers/tuning.py)",
)  # fmt: skip
REPLAYED = {("sgd", "L^-1"): SGD, ("adamw", "L^-1"): ADAMW}


def expected_loss(rule: str, setting: RunSetting) -> ExpectedLoss:
    """The loss in the replay of this rule.

    The numbers are NaN, and the source says why, if the rule was not replayed with this optimizer.

    Args:
        rule: the rule of the prediction.
        setting: how the target is trained.
    """
    optimizer = setting.optimizer if setting.adaptive else "sgd"
    reason = f"the rule {rule} was not replayed with {optimizer}"
    unknown = ExpectedLoss(mean=math.nan, worst=math.nan, cases=0, source=reason)
    return REPLAYED.get((optimizer or "sgd", rule), unknown)
