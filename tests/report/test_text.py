"""The sentence that interprets a slope, compared with the law that it describes."""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from ammup.measurement.depth_law import DepthLaw
from ammup.report.text import interpretation
from ammup.stats.power_law import fit_maximal_lr

DEPTHS = (2, 4, 8)


def _law(slope: float, *, scatter: float = 0.02, draws: int = 8, theory: float | None = None) -> DepthLaw:
    """η* ∝ L^slope with log-normal scatter of S̄, and a finite-depth law of slope ``theory``."""
    rng = np.random.default_rng(0)
    S = {L: L ** (-2 * slope) * np.exp(scatter * rng.standard_normal(draws)) for L in DEPTHS}
    rows = [{"depth": L, "seed": i, "S_bar": s, "lr_star": s**-0.5} for L in DEPTHS for i, s in enumerate(S[L])]
    finite_depth: Mapping[int, float] | None = None if theory is None else {L: float(L**theory) for L in DEPTHS}
    return DepthLaw(
        table=pd.DataFrame(rows),
        units={L: L for L in DEPTHS},
        S={L: np.ones(L) for L in DEPTHS},
        power_law=fit_maximal_lr(S),
        law=lambda: finite_depth,
    )


@pytest.mark.parametrize("slope", [-1.5, -0.5, 0.3])
def test_the_factor_for_doubled_depth_is_two_to_the_slope(slope: float) -> None:
    law = _law(slope)
    number = r"(\d[\d.]*)"
    match = re.search(
        rf"multiply a tuned learning rate by about {number} \({number} to {number}\)", interpretation(law)
    )
    assert match is not None
    low, high = law.power_law.slope_ci
    expected = [2**law.power_law.slope, 2**low, 2**high]
    assert [float(text) for text in match.groups()] == pytest.approx(expected, rel=5e-3)
    assert "finite-depth law" not in interpretation(law)


def test_a_slope_near_zero_needs_no_change_and_a_wide_interval_needs_more_draws() -> None:
    text = interpretation(_law(0.0, scatter=0.02))
    assert (
        "a tuned learning rate need not change with depth: with each doubling, it changes by a factor between" in text
    )
    assert "--seeds" not in text
    text = interpretation(_law(0.0, scatter=2.0))
    assert "do not show whether a tuned learning rate must change with depth" in text
    assert "increase --seeds to narrow that range" in text
    assert "multiply" not in text


@pytest.mark.parametrize(("theory", "place"), [(-1.5, "inside"), (-1.0, "outside")])
def test_theory_is_compared_with_the_interval(theory: float, place: str) -> None:
    assert f"gives {2**theory:.3g}, {place} that range" in interpretation(_law(-1.5, theory=theory))


def test_a_single_draw_has_no_range() -> None:
    text = interpretation(_law(-1.5, scatter=0.0, draws=1, theory=-1.5))
    assert "by about 0.354 to keep" in text
    assert "range" not in text
