"""Theorem 1: statistics on rows with a known exponent or prefactor, and the predicted regions."""

from collections.abc import Callable

import numpy as np
import pytest

from ammup.claims.claim import SEEDS_PER_ROOT, claim_named
from ammup.claims.statements import theorem1
from ammup.claims.statements.settings import LINE, MLP
from ammup.claims.statements.theorem1 import CLAIMS, GRID, SHAPES, TAPS, WIDENING
from ammup.theory.finite_depth import finite_depth_law

EXPONENTS = {"mlp": MLP, "1d": LINE, "2d": GRID}


@pytest.mark.parametrize("name", EXPONENTS)
def test_the_exponent_of_a_power_law_of_the_depth(name: str, rows_of: Callable) -> None:
    claim, setting = claim_named(CLAIMS, f"theorem-1.exponent-{name}"), EXPONENTS[name]
    depths = np.array(setting.depths, dtype=float)
    assert claim.statistic(rows_of(*(0.2 * depths**-1.5))) == pytest.approx(-1.5) == claim.stated.centre
    expected = np.polyfit(np.log(depths), np.log(setting.law()), 1)[0]
    assert claim.guarded.centre == pytest.approx(expected)
    assert claim.rows.__self__ == setting


@pytest.mark.parametrize("name", EXPONENTS)
def test_against_the_effective_depth_the_law_has_the_papers_exponent(name: str, rows_of: Callable) -> None:
    claim, setting = claim_named(CLAIMS, f"theorem-1.effective-depth-{name}"), EXPONENTS[name]
    assert claim.statistic(rows_of(*setting.law())) == pytest.approx(-1.5)
    tripled = claim.statistic(rows_of(*setting.law() ** 3))
    assert tripled == pytest.approx(-4.5)


def test_the_slope_is_on_the_number_of_taps_of_the_kernels(rows_of: Callable) -> None:
    taps = [setting.factory(4, seed=0).layers[1].weight[0, 0].numel() for setting in SHAPES]
    assert tuple(taps) == TAPS
    claim = claim_named(CLAIMS, "theorem-1.prefactor-free-of-kernel-shape")
    slope = claim.statistic(rows_of(*(3.0 / np.array(taps))))
    assert slope == pytest.approx(-1) == claim.guarded.centre
    one_and_five = claim_named(CLAIMS, "theorem-1.prefactor-free-of-kernel")
    assert one_and_five.statistic(rows_of(1, 1 / 5)) == pytest.approx(one_and_five.guarded.centre)


def test_the_law_of_the_profile_uses_its_widths() -> None:
    settings = {"family": "mlp", "in_features": 256, "out_features": 256}
    one = finite_depth_law(list(WIDENING), width=256, **settings)
    profile = finite_depth_law(list(WIDENING), width=lambda depth: WIDENING[depth], **settings)
    difference = np.diff(np.log(profile)) - np.diff(np.log(one))
    assert theorem1._profile_law() == pytest.approx(float(difference[0] / np.log(2)))


def test_a_learning_rate_per_tap_is_measured_with_other_seeds() -> None:
    requested: list[range] = []

    def rows(seeds: range) -> np.ndarray:
        requested.append(seeds)
        return np.ones((len(seeds), 1))

    other = theorem1._other_draws(rows)
    longest = max(claim.n for claim in CLAIMS) * 2
    for root in (0, 1):
        first = root * SEEDS_PER_ROOT
        other(range(first, first + longest))
        assert requested[-1].start >= first + longest
        assert requested[-1].stop <= first + SEEDS_PER_ROOT
        assert len(requested[-1]) == longest
