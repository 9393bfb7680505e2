"""How the best learning rate of a sweep falls with depth: statsmodels, and what is not fitted."""

import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from swept import diverged, swept_runs

from ammup.errors import InputError
from ammup.stats.optimum import fit_sweep
from ammup.stats.peak import EDGE, optimum_of
from ammup.stats.segment import Segment


def test_flagged_optima_are_fitted_on_request_only() -> None:
    runs = pd.concat([swept_runs(4, top=30.0), swept_runs(8, top=0.05), swept_runs(16, top=0.02)])
    assert EDGE in fit_sweep(runs).optima[4].flags
    assert fit_sweep(runs).used == (8, 16)
    assert fit_sweep(runs, keep_flagged=True).used == (4, 8, 16)


@pytest.mark.parametrize("kind", ["smoothed", "argmax"])
def test_the_optimum_of_each_depth_is_that_of_its_own_runs(kind: str) -> None:
    runs = {depth: swept_runs(depth, top=depth**-1.5, noise=0.01) for depth in (8, 3)}
    law = fit_sweep(pd.concat(runs.values()), kind=kind)
    assert list(law.optima) == [3, 8]
    assert law.lr_star(3) == optimum_of(runs[3]).lr_star(kind)
    assert law.lr_star(8) == optimum_of(runs[8]).lr_star(kind)


def test_an_unknown_kind_of_optimum_is_refused() -> None:
    with pytest.raises(InputError, match="unknown optimum='cliff'; expected one of: smoothed, argmax, edge"):
        fit_sweep(swept_runs(), kind="cliff")


def test_without_two_depths_there_is_no_line() -> None:
    law = fit_sweep(pd.concat([swept_runs(4), diverged(swept_runs(8), above=0.1)]))
    assert law.power_law is None
    assert law.line["depth"].tolist() == [4, 8]
    assert law.line[["fitted", "low", "high"]].isna().all(axis=None)


def test_the_line_is_weighted_least_squares_of_the_optima() -> None:
    truth = {depth: 2.0 * depth**-1.5 for depth in (3, 4, 6, 8, 12)}
    runs = pd.concat([swept_runs(depth, top=top, noise=0.01, seed=depth) for depth, top in truth.items()])
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
    runs = pd.concat([swept_runs(depth, top=depth**-1.5) for depth in (3, 4, 6, 8)])
    segment, other = Segment(anchors=(3, 4), predict=(6, 8, 30)), Segment(anchors=(3, 5), predict=(8,))
    law = fit_sweep(runs, segments=(segment, other))
    table = law.predictions[segment]
    assert table is not None
    np.testing.assert_allclose(table["predicted"], [6**-1.5, 8**-1.5, 30**-1.5], rtol=1e-6)
    np.testing.assert_allclose(table["log10_error"], [0, 0, np.nan], atol=1e-6)
    assert law.predictions[other] is None  # depth 5 was not run


def test_json_has_no_nan() -> None:
    law = fit_sweep(swept_runs(), segments=(Segment(anchors=(3, 4), predict=(6,)),))
    assert law.power_law is None
    content = law.to_dict()
    assert content["slope"] is None
    assert content["segments"][0]["predictions"] is None
    json.dumps(content, allow_nan=False)
