"""The power calculation against a simulation."""

import numpy as np
import pytest
from depth_curves import PAPER, law_of

from ammup.gate.allowed import Allowed
from ammup.gate.power import MOST_DRAWS, POWER, seeds_needed
from ammup.stats.power_law import PowerLaw, fit_maximal_lr


def _allowed(margin: float, drift: float | None = None, *, expected: float | None = -1.5, se: float = 0.0) -> Allowed:
    return Allowed(expected=expected, margin=margin, max_depth_drift=drift, expected_se=se)


@pytest.mark.parametrize("centre", ["exact", "recorded"])
def test_the_needed_draws_let_a_correct_slope_pass_with_the_stated_probability(centre: str) -> None:
    """Compare with a simulation of the same test whose draws have the scatter of the pilot measurement.

    The centre of the region is the true slope, or the slope of another simulated measurement with as many draws.
    """
    pilot = law_of(PAPER, scatter=0.5, draws=8)
    needed = seeds_needed(pilot, _allowed(0.2, expected=-1.5 if centre == "exact" else None))
    assert 8 < needed < 64
    rng = np.random.default_rng(0)
    sd = (
        pilot.table.groupby("depth")["S_bar"].std().to_numpy() / pilot.table.groupby("depth")["S_bar"].mean().to_numpy()
    )

    def simulated() -> PowerLaw:
        return fit_maximal_lr(
            {d: lr**-2 * rng.lognormal(-0.5 * np.log1p(s**2), np.sqrt(np.log1p(s**2)), needed)
             for (d, lr), s in zip(PAPER.items(), sd, strict=True)}
        )  # fmt: skip

    passed = 0
    for _ in range(400):
        reference = -1.5 if centre == "exact" else simulated().slope
        low, high = simulated().slope_ci
        passed += low >= reference - 0.2 and high <= reference + 0.2
    assert passed / 400 >= POWER - 0.04  # 400 trials: a standard error of 0.007
    assert passed < 400 or centre == "exact"


def test_the_error_of_the_centre_requires_more_draws() -> None:
    pilot = law_of(PAPER, scatter=0.5, draws=8)
    exact = seeds_needed(pilot, _allowed(0.1))
    errors = [seeds_needed(pilot, _allowed(0.1, se=se)) for se in (0.01, 0.02, 0.03)]
    assert exact < errors[0] < errors[1] < errors[2]
    recorded = seeds_needed(pilot, _allowed(0.1, expected=None))
    se = pilot.power_law.slope_se * (pilot.draws / recorded) ** 0.5
    assert exact < recorded == seeds_needed(pilot, _allowed(0.1, se=se))  # a repeated check needs no more draws
    assert seeds_needed(pilot, _allowed(0.1, se=0.05)) == MOST_DRAWS


def test_a_limit_on_the_drift_requires_at_least_as_many_draws() -> None:
    pilot = law_of(PAPER, scatter=0.5, draws=8)
    without_limit = seeds_needed(pilot, _allowed(0.1))
    assert seeds_needed(pilot, _allowed(0.1, 100.0)) == without_limit
    assert seeds_needed(pilot, _allowed(0.1, 0.05)) > without_limit


def test_one_draw_gives_no_prediction() -> None:
    assert seeds_needed(law_of(PAPER, draws=1), _allowed(0.1)) == 1
