"""The power calculation against a simulation."""

import numpy as np
from depth_curves import PAPER, law_of

from ammup.gate.power import seeds_needed
from ammup.stats.power_law import fit_maximal_lr


def test_the_needed_draws_let_a_correct_slope_pass_with_probability_0_9() -> None:
    """Compare with a simulation of the same test whose draws have the scatter of the pilot measurement."""
    pilot = law_of(PAPER, scatter=0.5, draws=8)
    needed = seeds_needed(pilot, 0.1, None)
    assert 8 < needed < 64
    rng = np.random.default_rng(0)
    sd = (
        pilot.table.groupby("depth")["S_bar"].std().to_numpy() / pilot.table.groupby("depth")["S_bar"].mean().to_numpy()
    )
    passed = 0
    for _ in range(400):
        draws = {d: lr**-2 * rng.lognormal(-0.5 * np.log1p(s**2), np.sqrt(np.log1p(s**2)), needed)
                 for (d, lr), s in zip(PAPER.items(), sd, strict=True)}  # fmt: skip
        low, high = fit_maximal_lr(draws).slope_ci
        passed += low >= -1.6 and high <= -1.4
    assert 0.82 <= passed / 400 <= 0.97


def test_a_limit_on_the_drift_requires_at_least_as_many_draws() -> None:
    pilot = law_of(PAPER, scatter=0.5, draws=8)
    without_limit = seeds_needed(pilot, 0.1, None)
    assert seeds_needed(pilot, 0.1, 100.0) == without_limit
    assert seeds_needed(pilot, 0.1, 0.05) > without_limit


def test_one_draw_gives_no_prediction() -> None:
    assert seeds_needed(law_of(PAPER, draws=1), 0.1, None) == 1
