"""The target depth: its learning rate, and its edge with the probes that find it.

The learning rate of the target is that of the base times the predicted ratio. Probes can only lower it, to a share of
the edge. A rate that follows the ratio of the probed edges instead loses more accuracy in replays of seven small
families (benchmarks/peers/tuning.py): with three probes 2.8 % instead of 0.8 % in five families with plain SGD, 8.0 %
instead of 2.2 % with momentum and cosine, and 3.2 % instead of -1.1 % with AdamW.
"""

import math
from dataclasses import dataclass, replace

from ammup.stats.noisy_bisection import Threshold
from ammup.tuning.answer import Estimate
from ammup.tuning.base_rate import base_rate, estimate, interval
from ammup.tuning.evidence import Evidence
from ammup.tuning.plan import NOISE, PROBE, WITHIN, Plan, base_edge, rounded
from ammup.tuning.prediction import NORMAL, Prediction
from ammup.tuning.progress import RunRequest

# The answer is at most this share of the edge that the probes found. In the same replays, shares from 0.5 to 1 lose
# equally little, and smaller ones more.
LARGEST_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class TargetEdge:
    """The edge at the target depth.

    Attributes:
        ratio: the distribution of log10 of edge(target) / edge(base): the prediction, and the probes at the target.
        base: mean of log10 of the edge at the base.
        base_sd: its standard deviation.
        probes: the number of probes at the target that say something.
    """

    ratio: Threshold
    base: float
    base_sd: float
    probes: int

    @property
    def mean(self) -> float:
        """Mean of log10 of the edge."""
        return self.base + self.ratio.mean

    @property
    def sd(self) -> float:
        """Standard deviation of log10 of the edge."""
        return math.hypot(self.ratio.sd, self.base_sd)

    @property
    def limit(self) -> float:
        """log10 of the largest learning rate that is recommended; ∞ without probes."""
        return self.mean + math.log10(LARGEST_SHARE) if self.probes else math.inf


def target_edge(plan: Plan, evidence: Evidence, prediction: Prediction) -> TargetEdge:
    """The edge at the target depth, after the runs so far."""
    prior = Threshold.normal(prediction.log_ratio, prediction.sd, between=NOISE, within=WITHIN)
    base, tests = base_edge(plan, evidence, plan.base), evidence.tests(plan.target, others=plan.depths)
    ratio = prior.after([replace(test, place=test.place - base.mean) for test in tests])
    return TargetEdge(ratio=ratio, base=base.mean, base_sd=base.sd, probes=len(tests))


def target_rate(base: Estimate, edge: TargetEdge, prediction: Prediction, z: float) -> Estimate:
    """The answer: the predicted learning rate, or a share of the edge if this is lower.

    Args:
        base: the tuned learning rate of the base.
        edge: the edge at the target.
        prediction: the predicted ratio of the learning rates.
        z: half of the width of the intervals, in standard deviations.
    """
    predicted = math.log10(base.lr) + prediction.log_ratio
    ratio = f"{base.lr:g} × {10**prediction.log_ratio:.3g} ({prediction.rule})"
    if predicted > edge.limit:
        source = f"{LARGEST_SHARE:g} of the edge, because {ratio} is more"
        return estimate(edge.limit, z * edge.sd, source)
    low, high = interval(predicted, z * prediction.sd)
    if edge.probes:
        high = max(min(high, rounded(10 ** (edge.mean + z * edge.sd))), rounded(10**predicted))
        ratio += f", at most {LARGEST_SHARE:g} of the edge"
    return Estimate(lr=rounded(10**predicted), interval=(low, high), source=ratio)


def probes(plan: Plan, evidence: Evidence, prediction: Prediction) -> list[RunRequest]:
    """The next probe at the target, at the median of its edge or below.

    None is needed if the edge is known well enough, or if it is clear whether it lowers the answer.
    """
    edge, attempts = target_edge(plan, evidence, prediction), len(evidence.falls(plan.target))
    if attempts >= plan.probes or (edge.probes and _is_decided(plan, evidence, prediction, edge)):
        return []
    count = min(plan.options.workers, plan.probes - attempts)
    places = edge.ratio.places(count)
    if attempts > edge.probes:  # probes that did not train, and so do not move the median
        places = tuple(edge.ratio.quantile(0.5 ** (attempts - edge.probes + k)) for k in range(1, count + 1))
    return plan.short(evidence, plan.target, tuple(10 ** (edge.base + place) for place in places), PROBE)


def _is_decided(plan: Plan, evidence: Evidence, prediction: Prediction, edge: TargetEdge) -> bool:
    predicted = math.log10(base_rate(plan, evidence).lr) + prediction.log_ratio
    half = NORMAL * edge.sd
    return half <= math.log10(plan.options.precision) or abs(predicted - edge.limit) >= half
