"""The gate on users' models: check that η* falls with depth at the expected slope."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ammup.errors import InputError, check_level
from ammup.format import brief_repr, json_number
from ammup.gate.check_text import check_text
from ammup.gate.fault_patterns import likely_cause
from ammup.gate.power import seeds_needed
from ammup.gate.slope_drift import slope_drift
from ammup.measurement.depth_law import DepthLaw, measure_depth_law
from ammup.measurement.first_step import OptimizerFactory
from ammup.measurement.loss import Loss, Targets
from ammup.measurement.specification import MeasurementSpec
from ammup.models.depth import Forward
from ammup.models.factory import Factory
from ammup.stats.equivalence import INSIDE, OUTSIDE, Region
from ammup.stats.verdicts import DOES_NOT_HOLD, HOLDS, INCONCLUSIVE

# Weight draws at each depth: of the pilot measurement, and at most.
PILOT, MOST_SEEDS = 8, 64


class Inconclusive(AssertionError):  # noqa: N818  (pytest shows the name, which states the outcome)
    """The confidence interval crosses an end of the allowed region."""


@dataclass(frozen=True, kw_only=True)
class DepthCheck:
    """A measured depth law, the allowed slopes, and the outcome.

    Attributes:
        law: the measured law.
        region: the allowed slopes.
        allowed_drift: the largest allowed difference between the slope of the deeper half of the depths and that of
            the shallower half, or None for no limit.
        needed: the weight draws at each depth with which a slope in the middle of the region passes with probability
            0.9, see :func:`ammup.gate.power.seeds_needed`.
        moved: the differences from a baseline, one sentence for each depth.
        cause: the fault whose pattern the curve shows, or "".
    """

    law: DepthLaw
    region: Region
    allowed_drift: float | None
    needed: int
    moved: tuple[str, ...] = ()
    cause: str = ""

    def __repr__(self) -> str:
        return brief_repr(
            self,
            repr(self.outcome),
            allowed=(self.region.low, self.region.high),
            cause=self.cause,
            law=self.law,
        )

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
        """The slope of the deeper half of the depths minus that of the shallower half, and its confidence interval."""
        return slope_drift(self.law)

    @property
    def draws(self) -> int:
        """Number of weight draws at each depth."""
        return self.law.draws

    def report(self) -> str:
        """Several lines: outcome, measured curve, likely cause of a failure, and advice on an inconclusive outcome."""
        return check_text(self)

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON types: dicts, lists, text, numbers and None."""
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
    targets: Targets | None = None,
    loss: Loss | None = None,
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
    """Measure how η* falls with depth, and compare the slope's confidence interval with ``expected`` ± ``margin``.

    The slope *holds* if its entire interval lies inside the region and *does not hold* if its entire interval lies
    outside. Otherwise the outcome is *inconclusive*, so that a noisy measurement never passes.

    Args:
        factory: builds the model of a depth; see :func:`ammup.depth_exponent`, also for ``inputs``, ``targets``,
            ``loss``, ``part``, ``forward``, ``optimizer``, ``device`` and ``progress``.
        depths: at least two depths; the slope is that of log η* on the log of these numbers.
        inputs: one batch.
        targets: the targets of the batch, or None for random labels.
        loss: "mse", "cross_entropy" or a callable; required if the targets are class indices.
        part: "total", "label" or "output".
        expected: the expected slope with its sign, usually the slope that was measured while the model was known to be
            correct (the paper's limit is -1.5). None stands for the slope of this measurement, for recording it.
        margin: half the width of the allowed region.
        level: two-sided confidence level of the intervals.
        seeds: weight draws at each depth, at least 2. None starts with 8 and adds as many as a correct slope needs to
            pass with probability 0.9, estimated from the scatter of the first 8, up to 64 in total.
        max_depth_drift: the largest allowed difference between the slope of the deeper half of the depths and that of
            the shallower half; requires at least four depths. None sets no limit.
        forward: how to call the model.
        optimizer: ``optimizer(params, lr)``.
        device: the device to measure on.
        progress: show a progress bar.

    Raises:
        InputError: as in :func:`ammup.depth_exponent`; a slope, margin, level or number of seeds that is not allowed;
            or too few depths for ``max_depth_drift``.
    """
    spec = MeasurementSpec(
        inputs=inputs, targets=targets, loss=loss, part=part, forward=forward, optimizer=optimizer, device=device
    )
    allowed = Allowed(expected=expected, margin=margin, level=level, max_depth_drift=max_depth_drift)
    return check_law(factory, depths, spec, allowed, seeds=seeds, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """The slopes that pass; the fields and errors are those of :func:`check_depth_exponent`."""

    expected: float | None
    margin: float
    level: float = 0.95
    max_depth_drift: float | None = None

    def __post_init__(self) -> None:
        if self.expected is not None and not np.isfinite(self.expected):
            raise InputError(f"expected={self.expected} must be finite: the slope, with its sign, such as -1.5")
        for name, value in (("margin", self.margin), ("max_depth_drift", self.max_depth_drift)):
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"{name}={value} must be positive and finite")
        check_level(self.level)

    def region(self, measured: float) -> Region:
        """The allowed slopes, centred on ``expected``, or on the measured slope if ``expected`` is None."""
        centre = measured if self.expected is None else self.expected
        return Region.around(centre, self.margin)


def check_law(
    factory: Factory,
    depths: Sequence[int] | ArrayLike,
    spec: MeasurementSpec,
    allowed: Allowed,
    *,
    seeds: int | None = None,
    progress: bool = False,
) -> DepthCheck:
    """The same as :func:`check_depth_exponent`, for a specification that was built before."""
    n_depths = len(np.atleast_1d(np.asarray(depths)))
    if seeds is not None and seeds < 2:
        raise InputError(
            f"seeds={seeds}: expected at least 2, or None to choose the number; one draw gives no interval"
        )
    if allowed.max_depth_drift is not None and n_depths < 4:
        raise InputError(f"max_depth_drift requires at least four depths, two in each half; {n_depths} were given")

    def measure(seed_range: Sequence[int]) -> DepthLaw:
        return measure_depth_law(factory, depths, spec, seeds=seed_range, level=allowed.level, progress=progress)

    law = measure(range(seeds or PILOT))
    needed = seeds_needed(law, allowed.margin, allowed.max_depth_drift)
    if seeds is None and law.draws == PILOT < needed:
        law = law.joined(measure(range(PILOT, min(needed, MOST_SEEDS))))
    region = allowed.region(law.power_law.slope)
    check = DepthCheck(law=law, region=region, allowed_drift=allowed.max_depth_drift, needed=needed)
    return with_likely_cause(check)


def assert_depth_exponent(
    factory: Factory,
    depths: Sequence[int] | ArrayLike,
    *,
    inputs: Any,
    targets: Targets | None = None,
    loss: Loss | None = None,
    part: str = "total",
    expected: float,
    margin: float,
    level: float = 0.95,
    seeds: int | None = None,
    max_depth_drift: float | None = None,
    forward: Forward | None = None,
    optimizer: OptimizerFactory | None = None,
) -> DepthCheck:
    """Run :func:`check_depth_exponent` inside a test, and return the check if the slope holds.

    Raises:
        AssertionError: the slope does not hold. The message contains the measured curve and, if the curve has the
            pattern of a common fault, the likely cause.
        Inconclusive: the outcome is inconclusive. The message states what to increase.
        InputError: as in :func:`check_depth_exponent`.

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
    """Raise :class:`Inconclusive` or another AssertionError, with the report of the check, unless the slope holds."""
    if check.outcome == INCONCLUSIVE:
        raise Inconclusive(check.report())
    if check.outcome == DOES_NOT_HOLD:
        raise AssertionError(check.report())


def with_likely_cause(check: DepthCheck) -> DepthCheck:
    """The check with the likely cause of its failure; unchanged if the slope holds or the outcome is inconclusive."""
    if check.outcome != DOES_NOT_HOLD:
        return check
    return replace(check, cause=likely_cause(check.law, check.region))
