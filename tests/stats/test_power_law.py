"""The fits against statsmodels, and the interval of a depth curve against repeated experiments."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from ammup import InputError, finite_depth_law, fit_power_law
from ammup.stats.power_law import fit_geometric_mean, fit_maximal_lr, maximal_lr_of

DEPTHS = [3, 4, 6, 8, 12, 30]


def _noisy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    se = rng.uniform(0.01, 0.2, len(DEPTHS))
    return 2.5 * np.array(DEPTHS) ** -1.4 * 10 ** (se * rng.standard_normal(len(DEPTHS))), se


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_every_digit_agrees_with_statsmodels(weighted: bool, level: float) -> None:
    values, se = _noisy(0)
    ours = fit_power_law(DEPTHS, values, se=se if weighted else None, level=level)
    design = sm.add_constant(np.log10(DEPTHS))
    oracle = sm.WLS(np.log10(values), design, weights=se**-2.0 if weighted else 1.0).fit()
    at = np.array([2, 7, 64])
    prediction = oracle.get_prediction(sm.add_constant(np.log10(at)))
    tight = {"rtol": 1e-10}
    np.testing.assert_allclose([ours.intercept, ours.slope], oracle.params, **tight)
    np.testing.assert_allclose(ours.covariance, oracle.cov_params(), **tight)
    np.testing.assert_allclose(ours.slope_se, oracle.bse[1], **tight)
    np.testing.assert_allclose(ours.slope_ci, oracle.conf_int(alpha=1 - level)[1], **tight)
    np.testing.assert_allclose(ours.r2, oracle.rsquared, **tight)
    np.testing.assert_allclose(np.log10(ours.predict(at)), prediction.predicted_mean, **tight)
    np.testing.assert_allclose(np.log10(ours.band(at)).T, prediction.conf_int(alpha=1 - level), **tight)


def test_an_exact_power_law_is_found_with_no_uncertainty() -> None:
    law = fit_power_law([2, 4, 8], 0.3 * np.array([2.0, 4.0, 8.0]) ** -1.5)
    assert law.slope == pytest.approx(-1.5, abs=1e-12)
    assert law.prefactor == pytest.approx(0.3, rel=1e-12)
    assert law.slope_se < 1e-12
    assert law.r2 == pytest.approx(1)


def test_two_depths_give_a_line_without_interval() -> None:
    law = fit_power_law([3, 4], [1.0, 0.5])
    assert law.predict([3, 4]) == pytest.approx([1.0, 0.5])
    assert np.isnan(law.slope_se)
    assert np.isnan(law.slope_ci).all()


@pytest.mark.parametrize(
    ("depths", "values", "se", "level", "message"),
    [
        ([3, 3], [1, 2], None, 0.95, "contains a repeated depth"),
        ([3], [1], None, 0.95, "at least 2"),
        ([0, 1], [1, 2], None, 0.95, "at least 1"),
        ([2.5, 3], [1, 2], None, 0.95, "integers"),
        ([2, 3], [1], None, 0.95, "expected a list of 2 values"),
        ([2, 3], [1, -1], None, 0.95, "positive and finite"),
        ([2, 3], [1, float("nan")], None, 0.95, "positive and finite"),
        ([2, 3], [1, 2], [0.1, 0.0], 0.95, "se=.*positive"),
        ([2, 3, 4], [1, 2, 3], None, 95, "confidence level"),
    ],
)
def test_unusable_points_are_refused(depths, values, se, level, message) -> None:
    with pytest.raises(InputError, match=message):
        fit_power_law(depths, values, se=se, level=level)


def test_maximal_lr_is_of_the_mean_and_its_error_that_of_a_log_mean() -> None:
    s = np.array([1.0, 2.0, 3.0, 6.0])
    lr, se = maximal_lr_of(s)
    assert lr == 3.0**-0.5
    assert se == pytest.approx(stats.sem(s) / 3 / 2 / np.log(10))


def test_depth_curve_has_the_slope_of_ordinary_least_squares() -> None:
    rng = np.random.default_rng(0)
    samples = {depth: rng.lognormal(3 * np.log(depth), 0.3, 8) for depth in DEPTHS}
    expected = fit_power_law(DEPTHS, [np.mean(s) ** -0.5 for s in samples.values()])
    law = fit_maximal_lr(samples)
    assert law.slope == pytest.approx(expected.slope, rel=1e-12)
    assert law.intercept == pytest.approx(expected.intercept, rel=1e-12)
    assert law.r2 == pytest.approx(expected.r2, rel=1e-12)


def test_a_single_draw_gives_no_interval() -> None:
    law = fit_maximal_lr({2: [1.0], 4: [8.0]})
    assert law.slope == pytest.approx(-1.5)
    assert np.isnan(law.slope_ci).all()


# n = 2000 experiments of 4 depths × 8 draws. A 95 % interval that covers in [93 %, 97 %] of experiments has a standard
# error of 0.5 %: 4 standard errors to either side. Planted fault (residual scatter in place of the draws' errors, n - 2
# degrees of freedom): the interval of a curved law covers 100 %.
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("scatter", "lowest"), [(0.2, 0.93), (0.5, 0.93), (1.0, 0.85)])
def test_interval_of_a_curved_law_covers_its_slope(scatter: float, lowest: float) -> None:
    depths = [4, 8, 16, 32]
    law = finite_depth_law(depths, family="mlp")
    slope = fit_power_law(depths, law).slope
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(2000):
        draws = rng.lognormal(-(scatter**2) / 2, scatter, (4, 8)) * law[:, None] ** -2.0
        low, high = fit_maximal_lr(dict(zip(depths, draws, strict=True))).slope_ci
        covered += low <= slope <= high
    assert lowest <= covered / 2000 <= 0.97


def test_geometric_means_have_the_standard_errors_of_their_logarithms() -> None:
    """Depths with the same number of draws: the variance of the slope from the residuals within depths, by hand."""
    rng = np.random.default_rng(4)
    samples = {depth: rng.lognormal(-1.5 * np.log(depth), 0.4, 5) for depth in DEPTHS}
    logs = np.log10(np.array(list(samples.values())))
    x = np.log10(np.array(DEPTHS, dtype=float))
    weights = (x - x.mean()) / np.square(x - x.mean()).sum()
    law = fit_geometric_mean(samples)
    assert law.slope == pytest.approx(weights @ logs.mean(1))
    assert law.slope_se == pytest.approx(np.sqrt(weights**2 @ logs.var(1, ddof=1) / 5))
    assert np.isnan(fit_geometric_mean({2: [1.0], 4: [8.0]}).slope_ci).all()
    for values in ([0.0, 1.0], [np.inf, 1.0]):
        with pytest.raises(InputError, match="must be positive and finite"):
            fit_geometric_mean({2: values, 4: [1.0, 2.0]})
