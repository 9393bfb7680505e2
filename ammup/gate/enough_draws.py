"""Measuring as many weight draws as a decision needs."""

from collections.abc import Callable

from ammup.gate.allowed import Allowed, Draws
from ammup.gate.curve import Curve, StoredCurve
from ammup.gate.decision import moved
from ammup.gate.power import seeds_needed
from ammup.gate.slope_comparison import SlopeComparison

# Measures the draws with further seeds, and returns the curve of all draws so far.
Measure = Callable[[range], Curve]


def measure_enough(measure: Measure, allowed: Allowed, draws: Draws, stored: StoredCurve | None) -> tuple[Curve, int]:
    """Measure a curve with as many weight draws as a correct model needs to pass.

    The number depends on the scatter of the draws and not on the outcome, with one exception: no draws are added if the
    curve of the first ones has moved against the baseline, because then the check fails.

    Args:
        measure: measures the draws with some seeds, and returns the curve of all draws so far.
        allowed: the allowed slopes.
        draws: how many draws to measure, and from which seeds.
        stored: the curve of the baseline, or None.

    Returns:
        The curve, and the number of draws with which a correct model passes, see
        :func:`ammup.gate.power.seeds_needed`.
    """
    curve = measure(draws.seed_range(0, draws.seeds or draws.first))
    needed = _needed(curve, allowed, stored)
    failed = stored is not None and bool(moved(stored, curve))
    while not failed and (number := draws.next_number(curve.draws, needed)) > curve.draws:
        curve = measure(draws.seed_range(curve.draws, number))
        needed = _needed(curve, allowed, stored)
    return curve, needed


def _needed(curve: Curve, allowed: Allowed, stored: StoredCurve | None) -> int:
    centred = stored is not None and allowed.expected is None
    return seeds_needed(curve, allowed, SlopeComparison.to_baseline(curve, stored) if centred else None)
