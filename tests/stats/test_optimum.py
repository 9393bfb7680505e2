"""The best learning rate of a sweep: closed forms, an independent fit, and what must be flagged."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from ammup.errors import InputError
from ammup.stats.optimum import DIVERGENCE, EDGE, INCOMPLETE, NO_MAXIMUM, Optimum, fit_sweep, optimum_of
from ammup.stats.segment import Segment

LRS = np.geomspace(1e-4, 10, 40)
SPACING = np.log10(LRS[1] / LRS[0])


def _runs(
    depth: int = 4, *, top: float = 0.1, noise: float = 0.0, seeds: int = 2, width: float = 1.0, seed: int = 0
) -> pd.DataFrame:
    """A parabola in log10 lr with its top at ``top``, levelling off at 10 %, and another level for each seed."""
    rng = np.random.default_rng(seed)
    u = np.log10(LRS / top)
    rows = []
    for s in range(seeds):
        accuracy = np.maximum(0.5 - 0.4 * (u / width) ** 2, 0.1) + 0.01 * s + noise * rng.standard_normal(u.size)
        rows += [
            {"depth": depth, "lr": lr, "seed": s, "val_accuracy": a, "diverged": False}
            for lr, a in zip(LRS, accuracy, strict=True)
        ]
    return pd.DataFrame(rows)


def _diverge(runs: pd.DataFrame, above: float, seed: int | None = None) -> pd.DataFrame:
    lost = (runs["lr"] > above) & (True if seed is None else runs["seed"] == seed)
    return runs.assign(diverged=lost, val_accuracy=runs["val_accuracy"].where(~lost))


@pytest.mark.parametrize("top", [0.003, 0.0457, 0.7])
def test_smoothing_finds_the_top_of_a_parabola_between_grid_points(top: float) -> None:
    found = optimum_of(_runs(top=top))
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
    runs = pd.concat([_runs(noise=0.005, seeds=1), _runs(noise=0.005, seeds=1, top=0.1 * 10 ** (0.1 * shift), seed=7)])
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
    found = [optimum_of(_runs(top=top, noise=0.02, seed=i)) for i, top in enumerate(tops)]
    covered = [abs(np.log10(o.smoothed / t)) < 2 * o.smoothed_se for o, t in zip(found, tops, strict=True)]
    assert np.mean(covered) >= 0.93


def test_argmax_averages_the_seeds_and_knows_their_scatter() -> None:
    runs = pd.concat([_runs(top=LRS[10], seeds=1), _runs(top=LRS[20], seeds=1).assign(seed=1)])
    found = optimum_of(runs)
    assert found.argmax == pytest.approx(np.sqrt(LRS[10] * LRS[20]))
    scatter = np.std([10 * SPACING, 20 * SPACING], ddof=1) / np.sqrt(2)
    assert found.argmax_se == pytest.approx(np.hypot(scatter, SPACING / np.sqrt(12)))


@pytest.mark.parametrize(
    ("runs", "flag"),
    [
        (_runs(top=1e-4), EDGE),
        (_runs(top=10.0), EDGE),
        (_runs(top=30.0), EDGE),
        (_diverge(_runs(top=0.1), above=0.1), DIVERGENCE),
        (_diverge(_runs(top=0.1), above=0.1, seed=1), DIVERGENCE),
        (_runs(top=0.1).assign(val_accuracy=0.1), NO_MAXIMUM),
        (_runs(top=0.1).drop(index=5), INCOMPLETE),
    ],
)
def test_what_cannot_be_trusted_is_flagged_and_not_fitted(runs: pd.DataFrame, flag: str) -> None:
    assert flag in optimum_of(runs).flags
    both = pd.concat([runs, _runs(depth=8, top=0.05), _runs(depth=16, top=0.02)])
    assert fit_sweep(both).used == (8, 16)
    assert fit_sweep(both, keep_flagged=True).used == (4, 8, 16)


def test_divergence_far_above_the_optimum_is_no_flag() -> None:
    assert optimum_of(_diverge(_runs(top=0.1), above=1.0)).flags == ()


def test_an_accuracy_at_a_learning_rate_that_diverged_from_one_seed_is_not_used() -> None:
    """The seed that survived by luck would otherwise be the maximum."""
    runs = _diverge(_runs(top=0.1), above=1.0, seed=1)
    lucky = (runs["lr"] > 1.0) & (runs["seed"] == 0)
    runs.loc[lucky, "val_accuracy"] = 0.9
    assert optimum_of(runs).smoothed == pytest.approx(0.1)


def test_the_line_is_weighted_least_squares_of_the_optima() -> None:
    truth = {depth: 2.0 * depth**-1.5 for depth in (3, 4, 6, 8, 12)}
    runs = pd.concat([_runs(depth, top=top, noise=0.01, seed=depth) for depth, top in truth.items()])
    law = fit_sweep(runs)
    points = pd.DataFrame(
        [{"x": np.log10(d), "y": np.log10(o.smoothed), "w": o.smoothed_se**-2} for d, o in law.optima.items()]
    )
    oracle = smf.wls("y ~ x", points, weights=points["w"]).fit()
    assert law.power_law is not None
    assert law.power_law.slope == pytest.approx(oracle.params["x"])
    assert law.power_law.slope_se == pytest.approx(oracle.bse["x"])
    assert law.power_law.r2 == pytest.approx(oracle.rsquared)
    assert law.power_law.slope == pytest.approx(-1.5, abs=0.1)
    band = oracle.get_prediction(points).summary_frame(alpha=0.05)
    np.testing.assert_allclose(np.log10(law.line["fitted"]), band["mean"])
    np.testing.assert_allclose(np.log10(law.line["low"]), band["mean_ci_lower"])
    np.testing.assert_allclose(np.log10(law.line["high"]), band["mean_ci_upper"])


def test_segments_predict_from_their_anchors() -> None:
    runs = pd.concat([_runs(depth, top=depth**-1.5) for depth in (3, 4, 6, 8)])
    segment, other = Segment(anchors=(3, 4), predict=(6, 8, 30)), Segment(anchors=(3, 5), predict=(8,))
    law = fit_sweep(runs, segments=(segment, other))
    table = law.predictions[segment]
    assert table is not None
    np.testing.assert_allclose(table["predicted"], [6**-1.5, 8**-1.5, 30**-1.5], rtol=1e-6)
    np.testing.assert_allclose(table["log10_error"], [0, 0, np.nan], atol=1e-6)
    assert law.predictions[other] is None  # depth 5 was not run


def test_segments_that_know_their_answer_are_refused() -> None:
    with pytest.raises(InputError, match=r"depths \[4\] are anchors and to be predicted"):
        Segment(anchors=(3, 4), predict=(4, 6))


def test_a_depth_that_diverged_everywhere_says_what_to_do() -> None:
    with pytest.raises(InputError, match="smaller"):
        optimum_of(_diverge(_runs(), above=0))


def test_json_has_no_nan() -> None:
    law = fit_sweep(_runs(), segments=(Segment(anchors=(3, 4), predict=(6,)),))
    assert law.power_law is None
    content = law.to_dict()
    assert content["slope"] is None
    assert content["segments"][0]["predictions"] is None
    assert isinstance(law.optima[4], Optimum)


def _searched(runs: pd.DataFrame, kept: list[int]) -> Optimum:
    """The optimum where a search trained these places only."""
    trained = runs["lr"].isin(LRS[kept])
    return optimum_of(runs[trained], left_out=runs[~trained])


def test_what_a_search_left_out_is_not_missing_and_the_grid_stays_the_grid() -> None:
    runs = _runs(top=0.1, noise=0.003)
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
    assert EDGE not in _searched(_runs(top=0.1), list(range(23, 30))).flags
    assert EDGE in _searched(_runs(top=20.0), list(range(30, 40))).flags
    near, far = (_diverge(_runs(top=0.1), LRS[place]) for place in (23, 28))
    assert DIVERGENCE in _searched(near, list(range(18, 36))).flags
    assert DIVERGENCE not in _searched(far, list(range(18, 27))).flags


def test_of_a_search_the_best_is_not_one_lucky_seed() -> None:
    runs = _runs(top=0.1, seeds=3)
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
