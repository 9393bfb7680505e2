"""Which runs to make next at the base depths; `ammup.tuning.target` places the probes at the target depth.

Every function looks at all runs that were made so far. A command that was killed therefore continues where it ended.

The edge is found by noisy bisection, because a user's runs are expensive: each run says only whether it trained, and
the prediction places it. `ammup.probe_edges` measures the same edge of an `nn.Module` under plain SGD, where runs are
cheap: all seeds at all rates of a grid, so that the edge is interpolated and has a standard error of its own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ammup.stats.noisy_bisection import Threshold
from ammup.tuning.evidence import Evidence
from ammup.tuning.options import TuneOptions
from ammup.tuning.progress import RunRequest, TuningRun

# Standard deviation, in decades, of the edge of one seed: between the two seeds of the stored sweeps, 0.16 after a
# complete run, 0.18 after a half and 0.20 after a quarter. Within a seed, WITHIN.
NOISE, WITHIN = 0.18, 0.06
# log10 of edge / tuned rate, in the stored sweeps: mean and standard deviation.
SAFETY, SAFETY_SD = 0.6, 0.3
# The edge at a base depth is searched until its standard deviation is at most this, with at most MOST short runs.
BASE_SD, MOST = 0.12, 6
COARSE = 1.0  # decades between the learning rates of the first search
FINE = 0.25  # decades between the learning rates of complete runs at the base depth
BELOW, LOWEST = 2, 8  # the complete runs start at BELOW · FINE below the edge, and reach at most LOWEST · FINE below

SCAN, EDGE, TUNED, PROBE = "search", "edge", "complete run", "probe"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be found.

    Attributes:
        depths: base depths, ascending; the tuned learning rate belongs to the last one.
        target: the depth of interest.
        steps: steps of a complete run.
        probe_steps: steps of a short run.
        lr: the learning rate tuned at the base, or None.
        probes: the largest number of probes at the target.
        options: how runs are made.
    """

    depths: tuple[int, ...]
    target: int
    steps: int
    probe_steps: int
    lr: float | None
    probes: int
    options: TuneOptions

    @property
    def base(self) -> int:
        """The depth of the tuned learning rate."""
        return self.depths[-1]

    def short(self, evidence: Evidence, depth: int, lrs: tuple[float, ...], purpose: str) -> list[RunRequest]:
        """Short runs at these learning rates; their seeds take turns."""
        made = sum(run.until < run.budget for run in evidence.at(depth))
        return [
            self._request(depth, lr, (made + number) % self.options.seeds, self.probe_steps, purpose)
            for number, lr in enumerate(lrs)
        ]

    def full(self, lrs: tuple[float, ...]) -> list[RunRequest]:
        """Complete runs at the base depth; all use the first seed, so that only the learning rate differs."""
        return [self._request(self.base, lr, 0, self.steps, TUNED) for lr in lrs]

    def _request(self, depth: int, lr: float, seed: int, until: int, purpose: str) -> RunRequest:
        return RunRequest(depth=depth, lr=rounded(lr), seed=seed, budget=self.steps, until=until, purpose=purpose)


def rounded(lr: float) -> float:
    """A learning rate with three significant digits, as a user would write it."""
    return float(f"{lr:.3g}")


def search(plan: Plan, evidence: Evidence) -> list[RunRequest]:
    """Without a tuned rate: short runs at the first base depth, upwards in decades until one fails."""
    if plan.lr is not None:
        return []
    depth, (low, high) = plan.depths[0], plan.options.lr_range
    count = math.floor(math.log10(high / low) / COARSE + 1e-9) + 1
    grid = [rounded(low * 10 ** (COARSE * k)) for k in range(count)]
    done = {run.lr for run in evidence.at(depth) if run.is_evidence}
    if any(test.failed for test in evidence.tests(depth)) and evidence.trained(depth):
        return []
    missing = [lr for lr in grid if lr not in done]
    return plan.short(evidence, depth, tuple(missing[: plan.options.workers]), SCAN)


def check(plan: Plan, evidence: Evidence) -> list[RunRequest]:
    """With a tuned rate: complete runs at it and, to check it, at half and twice the rate."""
    if plan.lr is None or not plan.options.check:
        return []
    done = {run.lr for run in evidence.complete(plan.base)}
    return plan.full(tuple(lr for lr in (plan.lr, plan.lr / 2, 2 * plan.lr) if rounded(lr) not in done))


def base_edge(plan: Plan, evidence: Evidence, depth: int) -> Threshold:
    """The distribution of log10 of the edge at a base depth."""
    if plan.lr is not None:
        mean, sd = math.log10(plan.lr) + SAFETY + math.log10(plan.base / depth), math.hypot(SAFETY_SD, 0.3)
    else:
        low, high = (math.log10(lr) for lr in plan.options.lr_range)
        mean, sd = (low + high) / 2, (high - low) / 2
    return Threshold.normal(mean, sd, between=NOISE, within=WITHIN).after(evidence.tests(depth, others=plan.depths))


def edges(plan: Plan, evidence: Evidence) -> list[RunRequest]:
    """Short runs at the base depths until their edges are known well enough."""
    for depth in plan.depths:
        made = sum(run.until < run.budget and run.purpose == EDGE and run.is_evidence for run in evidence.at(depth))
        edge = base_edge(plan, evidence, depth)
        if made < MOST and edge.sd > BASE_SD:
            count = min(plan.options.workers, MOST - made)
            return plan.short(evidence, depth, tuple(10**place for place in edge.places(count)), EDGE)
    return []


def tuned(plan: Plan, evidence: Evidence) -> list[RunRequest]:
    """Without a tuned rate: complete runs at the base below its edge, until the best one lies inside."""
    if plan.lr is not None:
        return []
    edge = base_edge(plan, evidence, plan.base).mean
    # Anchored at the first complete run, so that the grid does not move as the edge is estimated better.
    made = evidence.complete(plan.base)
    anchor = math.log10(made[0].lr) + BELOW * FINE if made else edge
    grid = {k: rounded(10 ** (anchor - k * FINE)) for k in range(1, LOWEST + 1)}
    done = {run.lr for run in made}
    wanted = [k for k in (BELOW, BELOW - 1, BELOW + 1) if grid[k] not in done]
    if not wanted:
        places = {lr: k for k, lr in grid.items()}
        best = max((run for run in made if run.lr in places), key=quality)
        last = max(places[lr] for lr in done if lr in places)
        wanted = [last + 1] if places[best.lr] == last and last < LOWEST else []
    return plan.full(tuple(grid[k] for k in wanted[: plan.options.workers]))


def quality(run: TuningRun) -> float:
    """The score of a complete run or, without scores, its negative loss; -∞ if it did not end well."""
    if not run.is_complete:
        return -math.inf
    value = run.score if run.score is not None else -run.loss_at(run.steps)
    return value if math.isfinite(value) else -math.inf


Stage = Callable[[Plan, Evidence], list[RunRequest]]
BASE_STAGES: tuple[Stage, ...] = (search, check, edges, tuned)
