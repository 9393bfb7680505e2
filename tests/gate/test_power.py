"""The power calculation against a simulation."""

from dataclasses import replace

import numpy as np
import pytest
from depth_curves import PAPER, law_of

from ammup.gate.allowed import Allowed
from ammup.gate.curve import Curve
from ammup.gate.power import MOST_DRAWS, POWER, seeds_needed
from ammup.gate.slope_comparison import SlopeComparison


def _allowed(margin: float, drift: float | None = None, *, expected: float | None = -1.5) -> Allowed:
    return Allowed(expected=expected, margin=margin, max_depth_drift=drift)


def _pilot(draws: int = 8, *, scatter: float = 0.5, first_seed: int = 0) -> Curve:
    return replace(Curve.from_law(law_of(PAPER, scatter=scatter, draws=draws)), first_seed=first_seed)


def _simulated(pilot: Curve, draws: int, rng: np.random.Generator, first_seed: int) -> Curve:
    """A curve of log-normal draws with the scatter of the pilot."""
    variation = pilot.S_bar.std(axis=0, ddof=1) / pilot.S_bar.mean(axis=0)
    variance = np.log1p(variation**2)
    S_bar = {
        depth: lr**-2 * rng.lognormal(-0.5 * v, np.sqrt(v), draws)
        for (depth, lr), v in zip(PAPER.items(), variance, strict=True)
    }
    return Curve.from_draws(S_bar, first_seed=first_seed, units=pilot.units, level=0.95)


@pytest.mark.parametrize("centre", ["exact", "recorded"])
def test_the_needed_draws_let_a_correct_slope_pass_with_the_stated_probability(centre: str) -> None:
    """Compare with a simulation of the same test whose draws have the scatter of the pilot measurement.

    The centre of the region is the true slope, or the slope of another simulated measurement with as many draws.
    """
    pilot = _pilot()
    needed = seeds_needed(pilot, _allowed(0.2, expected=-1.5 if centre == "exact" else None))
    assert 8 < needed < 64
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(400):
        new = _simulated(pilot, needed, rng, 0)
        if centre == "exact":
            low, high = (end + 1.5 for end in new.power_law.slope_ci)
        else:
            stored = _simulated(pilot, needed, rng, 1000).stored()
            low, high = SlopeComparison.from_curves(stored, new).interval(0.95)
        passed += low >= -0.2 and high <= 0.2
    assert abs(passed / 400 - POWER) < 0.025  # 400 trials: a standard error of 0.007


def test_the_error_of_the_baseline_requires_more_draws() -> None:
    pilot = _pilot()
    exact = seeds_needed(pilot, _allowed(0.2))
    recorded = seeds_needed(pilot, _allowed(0.2, expected=None))
    assert exact < recorded
    many = _pilot(40, first_seed=1000)
    few = _pilot(24, first_seed=1000)
    needed = [
        seeds_needed(pilot, _allowed(0.2, expected=None), SlopeComparison.from_curves(baseline.stored(), pilot))
        for baseline in (many, few)
    ]
    assert exact < needed[0] < recorded < needed[1]
    too_few = SlopeComparison.from_curves(_pilot(8, first_seed=1000).stored(), pilot)
    assert seeds_needed(pilot, _allowed(0.1, expected=None), too_few) == MOST_DRAWS


def test_the_draws_of_the_baseline_suffice_if_they_are_repeated() -> None:
    pilot = _pilot(scatter=0.9)
    again = SlopeComparison.from_curves(pilot.stored(), pilot)
    assert seeds_needed(pilot, _allowed(0.01, expected=None), again) <= pilot.draws
    assert seeds_needed(pilot, _allowed(0.01, expected=None)) > 1000


def test_a_limit_on_the_drift_requires_at_least_as_many_draws() -> None:
    pilot = _pilot()
    without_limit = seeds_needed(pilot, _allowed(0.1))
    assert seeds_needed(pilot, _allowed(0.1, 100.0)) == without_limit
    assert seeds_needed(pilot, _allowed(0.1, 0.05)) > without_limit


def test_one_draw_gives_no_prediction() -> None:
    assert seeds_needed(_pilot(1), _allowed(0.1)) == 1
