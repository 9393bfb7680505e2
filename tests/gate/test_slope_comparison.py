"""Differences of slopes, with draws in common or without, against simulations of their scatter."""

from dataclasses import replace

import numpy as np
import pytest

from ammup.gate.curve import Curve
from ammup.gate.slope_comparison import SlopeComparison

DEPTHS = (2, 4, 8)
SCATTER = 0.5  # standard deviation of log S_bar


def _curve(logs: np.ndarray, first_seed: int = 0) -> Curve:
    """A curve with a slope of -1.5 from standard normal numbers (draw, depth)."""
    S_bar = {d: d**3 * np.exp(SCATTER * logs[:, j]) for j, d in enumerate(DEPTHS)}
    return Curve.from_draws(S_bar, first_seed=first_seed, units={d: d for d in DEPTHS}, level=0.9)


def _pair(rng: np.random.Generator, correlation: float, old: range, new: range) -> tuple[Curve, Curve]:
    """Two curves; draws of the same seed have correlated logarithms."""
    stop = max(old.stop, new.stop)
    theirs, own = rng.standard_normal((2, stop, len(DEPTHS)))
    ours = correlation * theirs + np.sqrt(1 - correlation**2) * own
    return _curve(theirs[old.start : old.stop], old.start), _curve(ours[new.start : new.stop], new.start)


def test_equal_draws_have_an_equal_slope_without_an_error() -> None:
    curve = _curve(np.random.default_rng(0).standard_normal((10, 3)))
    comparison = SlopeComparison.from_curves(curve.stored(), curve)
    assert (comparison.difference, *comparison.interval(0.9)) == pytest.approx((0, 0, 0), abs=1e-12)


def test_draws_that_are_scaled_differ_by_exactly_the_slope_of_the_scale() -> None:
    """Every weight draw has its S_bar multiplied by a power of the depth: no scatter of the draws is left."""
    curve = _curve(np.random.default_rng(0).standard_normal((10, 3)))
    steeper = {d: s * d**0.4 for d, s in zip(DEPTHS, curve.S_bar.T, strict=True)}
    new = Curve.from_draws(steeper, first_seed=0, units=curve.units, level=0.9)
    comparison = SlopeComparison.from_curves(curve.stored(), new)
    assert comparison.interval(0.9) == pytest.approx((-0.2, -0.2))
    elsewhere = SlopeComparison.from_curves(replace(curve, first_seed=100).stored(), new)
    low, high = elsewhere.interval(0.9)
    assert low < -0.3 < -0.1 < high  # the same numbers, but other draws


@pytest.mark.parametrize("correlation", [0.0, 0.8, 0.99])
@pytest.mark.parametrize(("old", "new"), [(range(20), range(20)), (range(20), range(10, 50)), (range(30), range(12))])
def test_the_error_is_the_scatter_of_the_difference(correlation: float, old: range, new: range) -> None:
    """300 pairs: the scatter has a relative standard error of 0.04, and the share of intervals one of 0.017."""
    rng = np.random.default_rng(0)
    comparisons = []
    for _ in range(300):
        stored, curve = _pair(rng, correlation, old, new)
        comparisons.append(SlopeComparison.from_curves(stored.stored(), curve))
    differences = np.array([one.difference for one in comparisons])
    errors = np.array([one.error() for one in comparisons])
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(differences.std(), rel=0.15)
    covered = np.mean([low <= 0 <= high for low, high in (one.interval(0.9) for one in comparisons)])
    assert 0.83 < covered < 0.96


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_the_error_of_more_draws_is_predicted(correlation: float) -> None:
    rng = np.random.default_rng(0)
    predicted, found = [], []
    for _ in range(60):
        stored, curve = _pair(rng, correlation, range(20), range(60))
        few = replace(curve, S_bar=curve.S_bar[:20])
        predicted.append(SlopeComparison.from_curves(stored.stored(), few).error(60))
        found.append(SlopeComparison.from_curves(stored.stored(), curve).error())
    assert np.mean(predicted) == pytest.approx(np.mean(found), rel=0.1)


def test_a_baseline_without_draws_is_independent() -> None:
    rng = np.random.default_rng(0)
    stored, curve = _pair(rng, 1.0, range(40), range(40))
    without = SlopeComparison.from_curves(replace(stored.stored(), S_bar=None), curve)
    apart = SlopeComparison.from_curves(replace(stored, first_seed=1000).stored(), curve)
    assert without.difference == apart.difference
    assert without.error() == pytest.approx(apart.error(), rel=0.2)


def test_a_single_draw_has_no_error() -> None:
    rng = np.random.default_rng(0)
    stored, curve = _pair(rng, 0.0, range(8), range(1))
    assert np.isnan(SlopeComparison.from_curves(stored.stored(), curve).interval(0.9)).all()
