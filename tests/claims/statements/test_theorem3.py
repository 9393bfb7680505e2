"""Theorem 3: statistics on rows with known exponents, and the nets of the claims."""

from collections.abc import Callable

import numpy as np
import pytest

from ammup.claims.claim import Claim, claim_named
from ammup.claims.statements import theorem3
from ammup.claims.statements.settings import DENSE
from ammup.claims.statements.theorem3 import CLAIMS, DEPTHS, UNITS

EXPONENTS = [claim for claim in CLAIMS if claim.id.startswith("theorem-3.exponent-")]
UNCHANGED = [
    claim_named(CLAIMS, f"theorem-3.{name}") for name in ("projection", "groups", "dilation", "batch-norm", "dropout")
]


@pytest.mark.parametrize("claim", EXPONENTS, ids=lambda claim: claim.id)
def test_the_exponent_of_a_power_law_of_the_number_of_blocks(claim: Claim, rows_of: Callable) -> None:
    setting = claim.rows.__self__
    depths = np.array(setting.depths, dtype=float)
    assert claim.statistic(rows_of(*(2 * depths**-1.5))) == pytest.approx(-1.5) == claim.stated.centre
    assert claim.regime.endswith("K = " + ", ".join(map(str, setting.depths)))
    arguments = dict(setting.arguments)
    assert arguments.get("scaled", "all") == ("last" if "the last scaled" in claim.statement else "all")
    branch = arguments.get("branch", 2)
    layers = branch if isinstance(branch, int) else len(branch)
    words = {1: ("one weight layer",), 2: ("two ", "a convolution and a dense layer"), 3: ("three ",)}[layers]
    assert any(word in claim.statement for word in words)


@pytest.mark.parametrize("name", ["m2-all", "conv"])
def test_growth_is_the_slope_of_the_log_of_mean_s(name: str) -> None:
    claim = claim_named(CLAIMS, f"theorem-3.growth-{name}")
    scatter = np.array([[0.5], [1.5]])
    assert claim.statistic(scatter * np.array(UNITS, dtype=float) ** 3) == pytest.approx(3) == claim.stated.centre


def test_growth_is_measured_at_the_stated_units() -> None:
    small = DENSE.of_width(8)
    claim = theorem3._growth("small", "here", small, "small", "n = 8", 2)
    np.testing.assert_array_equal(claim.rows(range(2)), small.at(16).S(range(2))[:, [3, 7, 15]])


@pytest.mark.parametrize("claim", UNCHANGED, ids=lambda claim: claim.id)
def test_a_change_of_the_prefactor_alone_has_no_effect(claim: Claim, rows_of: Callable) -> None:
    depths = np.array(theorem3.IMAGES.depths, dtype=float)
    without = 0.3 * depths**-0.8
    assert claim.statistic(rows_of(*without, *(5 * without))) == pytest.approx(0, abs=1e-12)
    assert claim.statistic(rows_of(*without, *(without * depths**0.3))) == pytest.approx(0.3)


def test_free_of_width_compares_two_widths_at_one_depth(rows_of: Callable) -> None:
    claim = claim_named(CLAIMS, "theorem-3.free-of-width")
    assert claim.statistic(rows_of(0.5, 0.6)) == pytest.approx(np.log(1.2))
    assert DENSE.depths == DEPTHS
