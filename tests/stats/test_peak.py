"""The best learning rate of one depth: closed forms, an independent fit, and what must be flagged."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from swept import LRS, SPACING, diverged, swept_runs

from ammup.errors import InputError
from ammup.stats.peak import DIVERGENCE, EDGE, INCOMPLETE, NO_MAXIMUM, Optimum, optimum_of


@pytest.mark.parametrize("top", [0.003, 0.0457, 0.7])
def test_smoothing_finds_the_top_of_a_parabola_between_grid_points(top: float) -> None:
    found = optimum_of(swept_runs(top=top))
    assert found.smoothed == pytest.approx(top, rel=1e-9)
    assert found.smoothed_se == pytest.approx(SPACING / np.sqrt(12))  # nothing but the spacing is left
    assert found.argmax == pytest.approx(LRS[np.argmin(np.abs(np.log(LRS / top)))])
    assert found.flags == ()


def _oracle(near: pd.DataFrame) -> tuple[float, float]:
    """(top, its standard error) of statsmodels' parabola with a level for each seed."""
    fit = smf.ols("val_accuracy ~ 0 + C(seed) + u + I(u**2)", near.assign(u=np.log10(near["lr"]))).fit()
    names = ["u", "I(u ** 2)"]
    b, c = fit.params[names]
    gradient = np.array([-1 / (2 * c), b / (2 * c**2)])
    return -b / (2 * c), float(np.sqrt(gradient @ fit.cov_params().loc[names, names].to_numpy() @ gradient))


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_standard_error_is_the_larger_of_the_fit_s_and_the_seeds(shift: float) -> None:
    """``shift`` moves the second seed's top: noise within a seed then says too little."""
    runs = pd.concat(
        [swept_runs(noise=0.005, seeds=1), swept_runs(noise=0.005, seeds=1, top=0.1 * 10 ** (0.1 * shift), seed=7)]
    )
    runs["seed"] = np.repeat([0, 1], len(LRS))
    found = optimum_of(runs)
    near = runs[(runs["lr"] >= found.near[0] * 0.999) & (runs["lr"] <= found.near[1] * 1.001)]
    top, fitted = _oracle(near)
    tops = [_oracle(group)[0] for _, group in near.groupby("seed")]
    scatter = np.std(tops, ddof=1) / np.sqrt(2)
    assert (scatter > fitted) == bool(shift)
    assert np.log10(found.smoothed) == pytest.approx(top, rel=1e-8)
    assert found.smoothed_se == pytest.approx(np.sqrt(max(fitted, scatter) ** 2 + SPACING**2 / 12), rel=1e-6)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """400 sweeps; ±2 standard errors, which also hold the grid spacing, must cover in at least 93 % of them.

    Were the coverage 95.4 %, fewer than 93 % would come up with probability 1.5 %; at 88 % coverage more than 93 %
    with probability below 1e-3.
    """
    rng = np.random.default_rng(5)
    tops = 10 ** rng.uniform(-2, -1, 400)
    found = [optimum_of(swept_runs(top=top, noise=0.02, seed=i)) for i, top in enumerate(tops)]
    covered = [abs(np.log10(o.smoothed / t)) < 2 * o.smoothed_se for o, t in zip(found, tops, strict=True)]
    assert np.mean(covered) >= 0.93


def test_argmax_averages_the_seeds_and_knows_their_scatter() -> None:
    runs = pd.concat([swept_runs(top=LRS[10], seeds=1), swept_runs(top=LRS[20], seeds=1).assign(seed=1)])
    found = optimum_of(runs)
    assert found.argmax == pytest.approx(np.sqrt(LRS[10] * LRS[20]))
    scatter = np.std([10 * SPACING, 20 * SPACING], ddof=1) / np.sqrt(2)
    assert found.argmax_se == pytest.approx(np.hypot(scatter, SPACING / np.sqrt(12)))


@pytest.mark.parametrize(
    ("runs", "flag"),
    [
        (swept_runs(top=1e-4), EDGE),
        (swept_runs(top=10.0), EDGE),
        (swept_runs(top=30.0), EDGE),
        (diverged(swept_runs(top=0.1), above=0.1), DIVERGENCE),
        (diverged(swept_runs(top=0.1), above=0.1, seed=1), DIVERGENCE),
        (swept_runs(top=0.1).assign(val_accuracy=0.1), NO_MAXIMUM),
        (swept_runs(top=0.1).drop(index=5), INCOMPLETE),
    ],
)
def test_what_cannot_be_trusted_is_flagged(runs: pd.DataFrame, flag: str) -> None:
    assert flag in optimum_of(runs).flags


def test_divergence_far_above_the_optimum_is_no_flag() -> None:
    assert optimum_of(diverged(swept_runs(top=0.1), above=1.0)).flags == ()


def test_an_accuracy_at_a_learning_rate_that_diverged_from_one_seed_is_not_used() -> None:
    """The seed that survived by luck would otherwise be the maximum."""
    runs = diverged(swept_runs(top=0.1), above=1.0, seed=1)
    lucky = (runs["lr"] > 1.0) & (runs["seed"] == 0)
    runs.loc[lucky, "val_accuracy"] = 0.9
    assert optimum_of(runs).smoothed == pytest.approx(0.1)


def test_a_depth_that_diverged_everywhere_says_what_to_do() -> None:
    with pytest.raises(InputError, match="smaller"):
        optimum_of(diverged(swept_runs(), above=0))


def _searched(runs: pd.DataFrame, kept: list[int]) -> Optimum:
    """The optimum where a search trained these places only."""
    trained = runs["lr"].isin(LRS[kept])
    return optimum_of(runs[trained], left_out=runs[~trained])


def test_what_a_search_left_out_is_not_missing_and_the_grid_stays_the_grid() -> None:
    runs = swept_runs(top=0.1, noise=0.003)
    whole, found = optimum_of(runs), _searched(runs, list(range(18, 30)))
    assert found.flags == ()
    assert found.argmax == whole.argmax
    assert found.smoothed == pytest.approx(whole.smoothed, rel=0.1)
    assert found.smoothed_se >= SPACING / np.sqrt(12)
    gaps = _searched(runs, [*range(18, 23), *range(24, 30, 2)])  # a spacing of one place, whatever was trained
    assert gaps.argmax_se == pytest.approx(SPACING / np.sqrt(12))
    assert INCOMPLETE in optimum_of(runs.drop(index=runs.index[30])).flags
    part = runs[runs["lr"].isin(LRS[18:30])]  # of the second seed nothing is known beyond these
    assert INCOMPLETE in optimum_of(part, left_out=runs[~runs["lr"].isin(LRS[18:30]) & (runs["seed"] == 0)]).flags


def test_of_a_search_only_the_grids_own_edge_and_what_diverged_next_to_it_are_flagged() -> None:
    assert EDGE not in _searched(swept_runs(top=0.1), list(range(23, 30))).flags
    assert EDGE in _searched(swept_runs(top=20.0), list(range(30, 40))).flags
    near, far = (diverged(swept_runs(top=0.1), LRS[place]) for place in (23, 28))
    assert DIVERGENCE in _searched(near, list(range(18, 36))).flags
    assert DIVERGENCE not in _searched(far, list(range(18, 27))).flags


def test_of_a_search_the_best_is_not_one_lucky_seed() -> None:
    runs = swept_runs(top=0.1, seeds=3)
    lucky = (runs["lr"] == LRS[26]) & (runs["seed"] == 0)
    runs.loc[lucky, "val_accuracy"] = 0.9
    trained = (runs["lr"] != LRS[26]) | lucky
    assert optimum_of(runs[trained], left_out=runs[~trained]).accuracy == pytest.approx(0.51, abs=0.01)


def test_an_optimum_is_not_more_uncertain_than_its_neighbourhood_is_wide() -> None:
    """A parabola that is nearly flat under its scatter: the delta method says a thousand decades."""
    accuracy = 0.3 + np.array([0.0, 0.01, -0.0099, 0.01, 0.0])
    found = optimum_of(pd.DataFrame({"lr": LRS[:5], "seed": 0, "val_accuracy": accuracy, "diverged": False}))
    assert found.flags == ()
    assert found.smoothed == pytest.approx(LRS[2])
    assert found.smoothed_se == pytest.approx(SPACING * np.sqrt(4**2 + 1 / 12))
