"""The gate on a user's own models: does η* fall with depth as expected, beyond doubt?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor

from ammup.errors import InputError, check_level
from ammup.format import json_number
from ammup.gate.fault_patterns import likely_cause
from ammup.measurement.depth_law import DepthLaw, measure_depth_law
from ammup.measurement.first_step import OptimizerFactory
from ammup.measurement.loss import Loss
from ammup.measurement.specification import MeasurementSpec
from ammup.models.depth import Forward
from ammup.models.factory import Factory
from ammup.stats.equivalence import INSIDE, OUTSIDE, Estimate, Region
from ammup.stats.intervals import t_interval, upper_probability
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS, INCONCLUSIVE

# The first draws say how many more are needed for a right slope to pass with this probability.
PILOT, POWER, MOST_SEEDS = 8, 0.9, 64


VERBS = {HOLDS: "holds", DOES_NOT_HOLD: "does not hold", INCONCLUSIVE: "is open"}


class Inconclusive(AssertionError):  # noqa: N818  (pytest shows the name: it says what happened)
    """The interval neither lies inside the allowed region nor outside it."""


@dataclass(frozen=True, kw_only=True)
class DepthCheck:
    """What was measured, what was allowed, and what follows.

    Attributes:
        law: the measured law.
        region: the slopes that are allowed.
        allowed_drift: how far the slope of the deeper half may be from that of the shallower one, or None.
        needed: weight draws at each depth with which a slope in the middle of the region passes with probability
            ``POWER``.
        moved: what a baseline says against it, a sentence each.
        cause: the fault that the curve looks like, or nothing.
    """

    law: DepthLaw
    region: Region
    allowed_drift: float | None
    needed: int
    moved: tuple[str, ...] = ()
    cause: str = ""

    @property
    def outcome(self) -> str:
        """One of "holds", "does not hold" and "inconclusive"."""
        places = [self.region.place(self.law.power_law.slope_ci)]
        if self.allowed_drift is not None:
            places.append(Region.around(0.0, self.allowed_drift).place(self.drift[1]))
        if OUTSIDE in places or self.moved:
            return DOES_NOT_HOLD
        return HOLDS if set(places) == {INSIDE} else INCONCLUSIVE

    @property
    def drift(self) -> tuple[float, tuple[float, float]]:
        """Slope between the deeper half of the depths minus that of the shallower half, and its interval."""
        return slope_drift(self.law)

    @property
    def draws(self) -> int:
        """Weight draws at each depth."""
        return self.law.draws

    def report(self) -> str:
        """The verdict in words, the curve, and what to do."""
        fit = self.law.power_law
        low, high = fit.slope_ci
        lines = [
            f"the depth exponent {VERBS[self.outcome]}: slope {fit.slope:.3f} "
            f"[{low:.3f}, {high:.3f}], allowed [{self.region.low:.3f}, {self.region.high:.3f}], "
            f"{self.draws} weight draws at each depth"
        ]
        if self.allowed_drift is not None:
            change, (below, above) = self.drift
            lines.append(
                f"slope of the deeper half minus that of the shallower: {change:.3f} [{below:.3f}, {above:.3f}], "
                f"allowed ±{self.allowed_drift:.3f}"
            )
        lines += [*self.moved, _table(self.law)]
        if self.cause:
            lines.append(f"likely cause: {self.cause}")
        if self.outcome == INCONCLUSIVE:
            lines.append(self._advice())
        return "\n".join(lines)

    def _advice(self) -> str:
        if self.draws < 2:
            return "the factory draws nothing, so there is no interval: draw the weights from its seed= argument"
        return (
            f"what to raise: seeds (about {max(self.needed, 2 * self.draws)} would decide a slope in the middle of the "
            "region), the width of the nets, or the margin"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None for JSON."""
        drift, interval = self.drift
        return {
            "outcome": self.outcome,
            "region": [self.region.low, self.region.high],
            "drift": json_number(drift),
            "drift_interval": [json_number(v) for v in interval],
            "allowed_drift": self.allowed_drift,
            "seeds": self.draws,
            "seeds_needed": self.needed,
            "moved": list(self.moved),
            "cause": self.cause,
            **self.law.to_dict(),
        }


def check_depth_exponent(
    factory: Factory,
    depths: Sequence[int] | ArrayLike,
    *,
    inputs: Any,
    targets: Tensor | None = None,
    loss: Loss = "mse",
    part: str = "total",
    expected: float | None,
    margin: float,
    level: float = 0.95,
    seeds: int | None = None,
    max_depth_drift: float | None = None,
    forward: Forward | None = None,
    optimizer: OptimizerFactory | None = None,
    device: str | None = None,
    progress: bool = False,
) -> DepthCheck:
    """Measure how η* falls with depth, and hold the slope's interval against ``expected`` ± ``margin``.

    The slope *holds* where its whole interval lies in the region, *does not hold* where all of it lies outside, and is
    *inconclusive* otherwise, so that noise never passes.

    Args:
        factory: as in :func:`ammup.depth_exponent`, like ``depths``, ``inputs``, ``targets``, ``loss``, ``part``,
            ``forward``, ``optimizer``, ``device`` and ``progress``.
        depths: two at least; the slope is against these numbers.
        inputs: one batch.
        targets: its targets, or None for drawn ones.
        loss: "mse", "cross_entropy" or a callable.
        part: "total", "label" or "output".
        expected: the slope, signed: -1.5 is the paper's limit; your own net's is what you measured when it was right.
            None takes what is measured now, to record it.
        margin: how far from it the slope may be.
        level: two-sided confidence level of the intervals.
        seeds: weight draws at each depth; None takes 8, and from their scatter as many more as a right slope needs to
            pass with probability 0.9, up to 64 in all.
        max_depth_drift: also ask that the slope of the deeper half of the depths differ from that of the shallower
            half by no more than this; four depths at least.
        forward: how to call the model.
        optimizer: ``optimizer(params, lr)``.
        device: where to measure.
        progress: show a progress bar.

    Raises:
        InputError: as :func:`ammup.depth_exponent`, or a region that is empty.
    """
    spec = MeasurementSpec(
        inputs=inputs, targets=targets, loss=loss, part=part, forward=forward, optimizer=optimizer, device=device
    )
    allowed = Allowed(expected=expected, margin=margin, level=level, max_depth_drift=max_depth_drift)
    return check_law(factory, depths, spec, allowed, seeds=seeds, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """Which slopes pass; arguments and errors as in :func:`check_depth_exponent`."""

    expected: float | None
    margin: float
    level: float = 0.95
    max_depth_drift: float | None = None

    def __post_init__(self) -> None:
        if self.expected is not None and not np.isfinite(self.expected):
            raise InputError(f"expected={self.expected} must be finite: the slope, signed, such as -1.5")
        for name, value in (("margin", self.margin), ("max_depth_drift", self.max_depth_drift)):
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"{name}={value} must be positive and finite")
        check_level(self.level)

    def region(self, measured: float) -> Region:
        """The allowed slopes; around the measured one where none is expected."""
        return Region.around(measured if self.expected is None else self.expected, self.margin)


def check_law(
    factory: Factory,
    depths: Sequence[int] | ArrayLike,
    spec: MeasurementSpec,
    allowed: Allowed,
    *,
    seeds: int | None = None,
    progress: bool = False,
) -> DepthCheck:
    """:func:`check_depth_exponent` of a specification."""
    n_depths = len(np.atleast_1d(np.asarray(depths)))
    if seeds is not None and seeds < 2:
        raise InputError(f"seeds={seeds}: give at least 2 for an interval, or None to have them chosen")
    if allowed.max_depth_drift is not None and n_depths < 4:
        raise InputError(f"max_depth_drift needs four depths at least, two in each half; {n_depths} were given")

    def measured(numbers: Sequence[int]) -> DepthLaw:
        return measure_depth_law(factory, depths, spec, seeds=numbers, level=allowed.level, progress=progress)

    law = measured(range(seeds or PILOT))
    needed = seeds_needed(law, allowed.margin, allowed.max_depth_drift)
    if seeds is None and law.draws == PILOT < needed:
        law = law.joined(measured(range(PILOT, min(needed, MOST_SEEDS))))
    region = allowed.region(law.power_law.slope)
    check = DepthCheck(law=law, region=region, allowed_drift=allowed.max_depth_drift, needed=needed)
    return explained(check)


def assert_depth_exponent(
    factory: Factory,
    depths: Sequence[int] | ArrayLike,
    *,
    inputs: Any,
    targets: Tensor | None = None,
    loss: Loss = "mse",
    part: str = "total",
    expected: float,
    margin: float,
    level: float = 0.95,
    seeds: int | None = None,
    max_depth_drift: float | None = None,
    forward: Forward | None = None,
    optimizer: OptimizerFactory | None = None,
) -> DepthCheck:
    """:func:`check_depth_exponent`, for a test of your own; returns the check where it holds.

    Raises:
        AssertionError: the slope does not hold; the message shows the curve and, where it looks like a known fault,
            its likely cause.
        Inconclusive: it is open; the message says what to raise.
        InputError: as :func:`check_depth_exponent`.

    Example:
        >>> import ammup, torch
        >>> from functools import partial
        >>> net = partial(ammup.mlp, width=128, in_features=128, out_features=128, readout="he")
        >>> check = ammup.assert_depth_exponent(
        ...     net, [2, 4, 8], inputs=torch.ones(1, 128), part="label", expected=-1.05, margin=0.3
        ... )
        >>> check.outcome
        'holds'
    """
    spec = MeasurementSpec(inputs=inputs, targets=targets, loss=loss, part=part, forward=forward, optimizer=optimizer)
    allowed = Allowed(expected=expected, margin=margin, level=level, max_depth_drift=max_depth_drift)
    check = check_law(factory, depths, spec, allowed, seeds=seeds)
    raise_unless_holds(check)
    return check


def raise_unless_holds(check: DepthCheck) -> None:
    """Turn an outcome into what a test raises."""
    if check.outcome == INCONCLUSIVE:
        raise Inconclusive(check.report())
    if check.outcome == DOES_NOT_HOLD:
        raise AssertionError(check.report())


def explained(check: DepthCheck) -> DepthCheck:
    """The same with the cause that the curve looks like, where the slope does not hold."""
    return check if check.outcome != DOES_NOT_HOLD else replace(check, cause=likely_cause(check.law, check.region))


def seeds_needed(law: DepthLaw, margin: float, max_depth_drift: float | None) -> int:
    """Weight draws with which a slope in the middle of the region passes with probability ``POWER``.

    The standard error falls with the square root of the draws, from what it is in ``law``.
    """
    n = law.draws
    pairs = [(law.power_law.slope_se, margin)]
    if max_depth_drift is not None:
        _, (low, high) = slope_drift(law)
        pairs.append(((high - low) / 2 / stats.norm.ppf(upper_probability(law.power_law.level)), max_depth_drift))
    if n < 2 or not all(np.isfinite(se) for se, _ in pairs):
        return n
    alpha = (1 - law.power_law.level) / 2
    for draws in range(2, 10_000):
        right = [
            Estimate(value=0.0, se=se * (n / draws) ** 0.5, df=max(draws - 1, 1), n=draws).power(
                Region.around(0.0, allowed), alpha
            )
            for se, allowed in pairs
        ]
        if min(right) >= POWER:
            return draws
    return 10_000


def slope_drift(law: DepthLaw) -> tuple[float, tuple[float, float]]:
    """Slope of the deeper half of the depths minus that of the shallower half, with the interval of the draws."""
    curve = law.curve
    x, y = np.log10(curve["depth"].to_numpy(dtype=np.float64)), np.log10(curve["lr_star"].to_numpy())
    half = len(x) // 2
    if half < 2:
        return float("nan"), (float("nan"), float("nan"))
    weights = np.zeros(len(x))
    for sign, part in ((-1.0, slice(0, half)), (1.0, slice(len(x) - half, None))):
        centred = x[part] - x[part].mean()
        weights[part] += sign * centred / (centred @ centred)
    se = float(np.sqrt(np.sum((weights * curve["se_log10"].to_numpy()) ** 2)))
    df = max(int(curve["seeds"].min()) - 1, 1)
    change = float(weights @ y)
    return change, t_interval(change, se, df=df, probability=upper_probability(law.power_law.level))


def _table(law: DepthLaw) -> str:
    curve = law.curve.assign(units=[law.units[depth] for depth in law.curve["depth"]])
    shown = curve[["depth", "units", "lr_star", "se_log10", "local_slope"]]
    return str(shown.to_string(index=False, float_format=lambda v: "" if np.isnan(v) else f"{v:.3g}"))
