"""How much accuracy an answer is expected to lose against a full grid at the target depth."""

from dataclasses import dataclass


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


SOURCE = "replay of the stored grids, plain SGD, 16 channels (benchmarks/peers/tuning.py)"
# By number of probes at the target depth: mean and worst, as that script prints.
REPLAYED = {0: (0.0, 0.0), 1: (0.0, 0.0), 3: (0.0, 0.0), 10: (0.0, 0.0)}
CASES = 0


def expected_loss(probes: int) -> ExpectedLoss:
    """The loss in the replay with the largest number of probes that is not larger than ``probes``."""
    mean, worst = REPLAYED[max(count for count in REPLAYED if count <= probes)]
    return ExpectedLoss(mean=mean, worst=worst, cases=CASES, source=SOURCE)
