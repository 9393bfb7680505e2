"""Tops of parabolas against statsmodels, closed forms, and one fit for each seed."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from ammup.stats.parabola import parabola_top, seed_scatter

U = np.linspace(-2, -1, 7)


def _curves(seeds: int, *, noise: float = 0.02, missing: int = 0) -> np.ndarray:
    """Parabolas with a level and a top for each seed, without some of their values."""
    rng = np.random.default_rng(seeds)
    tops = -1.4 + 0.1 * rng.normal(size=(seeds, 1))
    curves = 0.5 + 0.05 * rng.normal(size=(seeds, 1)) - 0.4 * (U - tops) ** 2 + noise * rng.normal(size=(seeds, 7))
    gone = rng.choice(curves.size, missing, replace=False)
    curves.ravel()[gone] = np.nan
    return curves


def _oracle(curves: np.ndarray) -> tuple[float, float]:
    """(top, its standard error by the delta method) of statsmodels' parabola with a level for each seed."""
    seeds, places = np.nonzero(np.isfinite(curves))
    table = pd.DataFrame({"seed": seeds, "u": U[places], "y": curves[seeds, places]})
    fit = smf.ols("y ~ 0 + C(seed) + u + I(u**2)", table).fit()
    names = ["u", "I(u ** 2)"]
    b, c = fit.params[names]
    gradient = np.array([-1 / (2 * c), b / (2 * c**2)])
    return -b / (2 * c), float(np.sqrt(gradient @ fit.cov_params().loc[names, names].to_numpy() @ gradient))


@pytest.mark.parametrize(("seeds", "missing"), [(1, 0), (2, 0), (5, 0), (5, 6)])
def test_top_and_error_are_those_of_least_squares_with_a_level_for_each_seed(seeds: int, missing: int) -> None:
    curves = _curves(seeds, missing=missing)
    assert parabola_top(U, curves) == pytest.approx(_oracle(curves), rel=1e-8)


def test_a_seed_without_values_changes_nothing() -> None:
    curves = _curves(3)
    with_empty = np.vstack([curves, np.full(7, np.nan)])
    assert parabola_top(U, with_empty) == pytest.approx(parabola_top(U, curves), rel=1e-12)


def test_three_points_have_a_top_and_nothing_to_estimate_its_error_from() -> None:
    top, error = parabola_top(np.array([0.0, 1.0, 2.0]), np.array([[0.0, 1.0, 0.5]]))
    assert top == pytest.approx(7 / 6)  # of -3/4 u² + 7/4 u
    assert error == 0.0


@pytest.mark.parametrize(
    "curve",
    [
        [0.2] * 7,  # flat
        (U**2).tolist(),  # a minimum
        [0.1, 0.2, *[np.nan] * 5],  # two points
    ],
)
def test_what_has_no_maximum_has_no_top(curve: list[float]) -> None:
    assert np.isnan(parabola_top(U, np.array([curve]))).all()


@pytest.mark.parametrize("missing", [0, 4])
def test_scatter_is_the_standard_error_of_the_mean_of_the_seeds_own_tops(missing: int) -> None:
    curves = _curves(6, missing=missing)
    tops = []
    for curve in curves:
        known = np.isfinite(curve)
        c, b, _ = np.polyfit(U[known], curve[known], 2)
        assert c < 0
        tops.append(-b / (2 * c))
    assert seed_scatter(U, curves) == pytest.approx(np.std(tops, ddof=1) / 6**0.5, rel=1e-6)


@pytest.mark.parametrize("curves", [_curves(1), np.vstack([_curves(1), U**2]), np.full((3, 7), 0.5)])
def test_scatter_takes_two_seeds_with_a_top(curves: np.ndarray) -> None:
    assert seed_scatter(U, curves) == 0.0
