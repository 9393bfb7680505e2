"""What the runs so far say: which learning rates train at a depth, and which fail.

Losses of all depths are compared after the same number of steps, PROBE_SHARE of a complete run unless stated otherwise.
A learning rate trains if the loss fell by at least half as far as at the best learning rate of its depth: the edge is
the learning rate above the best one where this ends (docs/edge.md uses the same half of accuracy). The loss of an
untrained net, from which it falls, is the lowest first loss of all runs. The first loss of the same run would mislead:
near the edge the loss jumps within the first steps.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ammup.stats.noisy_bisection import Test
from ammup.tuning.progress import TuningRun

SHARE = 0.5  # of the largest fall of the loss
# A probe at the target depth trains if the loss falls by at least this share of the largest fall at the base depth.
# Deeper nets start more slowly.
LEAST = 0.25
# A loss that fell by less than this share of its level did not fall: the runs scatter by about as much.
FLAT = 0.02


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All runs so far.

    Attributes:
        runs: in the order in which they ended.
        probe_steps: number of steps after which losses are compared.
    """

    runs: tuple[TuningRun, ...]
    probe_steps: int

    def at(self, depth: int) -> tuple[TuningRun, ...]:
        """All runs at a depth."""
        return tuple(run for run in self.runs if run.depth == depth)

    def complete(self, depth: int) -> tuple[TuningRun, ...]:
        """The complete runs at a depth, and those complete runs that diverged."""
        return tuple(run for run in self.at(depth) if run.until == run.budget and run.is_evidence)

    @property
    def untrained(self) -> float:
        """The loss of an untrained net; NaN without a run."""
        return min((run.first_loss for run in self.runs if math.isfinite(run.first_loss)), default=math.nan)

    def falls(self, depth: int) -> list[tuple[TuningRun, float]]:
        """(Run, fall of the loss) of each run at a depth that says something; -∞ if it diverged."""
        losses = ((run, run.loss_at(self.probe_steps)) for run in self.at(depth))
        level = self.untrained
        falls = ((run, -math.inf if math.isinf(loss) else level - loss) for run, loss in losses)
        return [(run, fall) for run, fall in falls if not math.isnan(fall)]

    def largest_fall(self, depths: Iterable[int]) -> float:
        """The largest fall at several depths; 0 if no loss fell."""
        largest = max((fall for depth in depths for _, fall in self.falls(depth)), default=0.0)
        return largest if largest > FLAT * abs(self.untrained) else 0.0

    def tests(self, depth: int, *, others: Iterable[int] = ()) -> list[Test]:
        """Whether the learning rate of each run at a depth failed, by log10 of the rate, in groups of seeds.

        If no run of a depth trained, only those that diverged or were stopped failed. The others say nothing: their
        learning rate may be beyond the edge, or the depth may need more steps to start.

        Args:
            depth: L.
            others: depths with runs that trained, with which a depth without one is compared.
        """
        falls = self.falls(depth)
        best_run, best = max(falls, key=lambda one: one[1], default=(None, 0.0))
        none = best <= max(LEAST * self.largest_fall(others), FLAT * abs(self.untrained))
        if none or best_run is None:
            return [_test(run, failed=True) for run, fall in falls if math.isinf(fall)]
        return [_test(run, failed=run.lr > best_run.lr and fall < SHARE * best) for run, fall in falls]

    def trained(self, depth: int, *, others: Iterable[int] = ()) -> bool:
        """Whether any run at a depth trained."""
        return any(not test.failed for test in self.tests(depth, others=others))


def _test(run: TuningRun, *, failed: bool) -> Test:
    return Test(place=math.log10(run.lr), failed=failed, group=run.seed)
