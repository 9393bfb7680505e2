"""Skewness of studentized estimates, compared with closed forms, with simulation, and with orthogonal designs."""

import numpy as np
import pytest
from scipy import stats

from ammup.stats.equivalence import jackknife
from ammup.stats.skewness import (
    SYMMETRIC,
    Skewness,
    _sample_skewness,
    of_log_lr_star,
    of_log_means,
    of_means,
    transformed,
)

SLOPE = np.array([-0.5, 0.1, 0.4])


def _log_of_means(rows: np.ndarray) -> float:
    return float(SLOPE @ np.log(rows.mean(axis=0)))


def _orthogonal_rows(cvs: np.ndarray, n: int = 64) -> np.ndarray:
    """Rows with these coefficients of variation and uncorrelated columns, exactly."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, len(cvs)))]))
    return np.asarray(1 + q[:, 1:] * np.sqrt(n - 1) * cvs)


def test_the_skewness_of_a_sample_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for n in (3, 8, 100):
        values = rng.lognormal(size=n)
        assert _sample_skewness(values) == pytest.approx(float(stats.skew(values, bias=False)), rel=1e-13)
    assert np.isnan(_sample_skewness(np.full(5, 0.1)))


def test_without_skewness_the_quantiles_and_the_interval_are_those_of_student_s_t() -> None:
    for probability in (0.3, 0.975, 1 - 6e-5):
        assert SYMMETRIC.quantile(probability, 17) == stats.t.ppf(probability, 17)
    half = 0.5 * stats.t.ppf(0.975, 17)
    assert SYMMETRIC.interval(2.0, 0.5, df=17, probability=0.975) == pytest.approx((2 - half, 2 + half))


@pytest.mark.parametrize("quadratic", [-0.4, -0.1, -0.01, 0.0, 0.03, 0.2])
def test_the_longer_tail_is_the_parabola_to_second_order_and_no_tail_is_shorter(quadratic: float) -> None:
    z = np.linspace(-8, 8, 4001)
    quantiles = transformed(z, quadratic, 0.3 * quadratic)
    assert (np.diff(quantiles) > 0).all()
    assert (np.abs(quantiles) >= np.abs(z)).all()
    shorter = z * quadratic <= 0
    np.testing.assert_array_equal(quantiles[shorter], z[shorter])
    np.testing.assert_allclose(quantiles, -transformed(-z, -quadratic, -0.3 * quadratic))
    q = min(max(quadratic, -0.25), 0.25)
    near = np.copysign(np.array([1e-3, 1e-2]), q)
    np.testing.assert_allclose(transformed(near, quadratic, 0.0), near + q * near**2, atol=2e-6)


def test_a_shift_towards_the_estimate_is_ignored() -> None:
    assert transformed(np.float64(-2.0), -0.01, 0.5) == -2.0


def test_the_mean_of_log_normal_rows_has_the_coefficients_of_hall() -> None:
    """Hall (1992, section 3.10): T = Z - γ/√n (2 Z² + 1)/6 for a mean."""
    rows = np.exp(np.random.default_rng(0).standard_normal((50, 1)) * 0.6)
    cv = float(rows.std(ddof=1) / rows.mean())
    gamma = cv * (3 + cv**2)  # of a log-normal distribution
    skewness = of_means(rows, np.mean, bias=0.0)
    assert skewness.quadratic == pytest.approx(-gamma / (3 * 50**0.5), rel=1e-6)
    assert skewness.constant == pytest.approx(-gamma / (6 * 50**0.5), rel=1e-6)


def test_rows_that_are_less_skewed_than_log_normal_ones_have_their_own_skewness_and_its_error() -> None:
    n = 400
    rows = 1 + 0.6 * np.sqrt(2) * np.sin(np.arange(n) * 2.399)[:, None]  # symmetric, with the variation 0.6
    skewness = of_means(rows, np.mean, bias=0.0)
    assert skewness.quadratic == pytest.approx(-3 * (6 / n) ** 0.5 / (3 * n**0.5), rel=0.02)


def test_columns_drawn_together_but_uncorrelated_are_as_skewed_as_independent_ones() -> None:
    cvs, n = np.array([0.2, 0.5, 0.3]), 64
    variances = cvs**2 / n
    together = of_means(_orthogonal_rows(cvs, n), _log_of_means, bias=-0.5 * float(SLOPE @ variances))
    independent = of_log_means(SLOPE, variances, np.full(3, n))
    assert together.quadratic == pytest.approx(independent.quadratic, rel=1e-4)
    assert together.constant == pytest.approx(independent.constant, rel=1e-4)
    assert abs(independent.quadratic) > 0.005


def test_a_correlated_pair_of_equal_columns_counts_as_one_column() -> None:
    column = np.exp(0.5 * np.random.default_rng(1).standard_normal((80, 1)))
    one = jackknife(column, lambda rows: float(2 * np.log(rows.mean(axis=0))[0]))
    pair = jackknife(np.repeat(column, 2, axis=1), lambda rows: float(np.log(rows.mean(axis=0)).sum()))
    assert pair.skewness.quadratic == pytest.approx(one.skewness.quadratic, rel=1e-5)
    assert pair.skewness.constant == pytest.approx(one.skewness.constant, rel=1e-5)


def test_log_lr_star_has_half_the_log_mean_of_s_bar_with_the_opposite_sign() -> None:
    se = np.array([0.02, 0.05, 0.03])
    relative = (2 * np.log(10) * se) ** 2
    draws = np.array([8, 16, 32])
    assert of_log_lr_star(SLOPE, se, draws) == of_log_means(-SLOPE / (2 * np.log(10)), relative, draws)


@pytest.mark.parametrize(
    ("rows", "statistic"),
    [
        (np.exp(np.random.default_rng(0).standard_normal((30, 2))), lambda rows: float(np.log(rows).mean())),
        (np.random.default_rng(0).standard_normal((30, 2)), np.mean),
        (np.random.default_rng(0).standard_normal((30, 1)) + 0.3, np.mean),
        (np.ones((30, 2)), np.mean),
    ],
    ids=["a mean of logs", "a mean that is not positive", "rows of both signs", "no scatter"],
)
def test_other_estimates_get_student_s_t(rows: np.ndarray, statistic: object) -> None:
    assert jackknife(rows, statistic).skewness == SYMMETRIC


def test_unknown_errors_have_no_skewness() -> None:
    assert of_log_means(SLOPE, np.full(3, np.nan), np.ones(3)) == SYMMETRIC


def test_more_draws_reduce_the_skewness() -> None:
    variances, draws = np.array([0.001, 0.002, 0.001]), np.full(3, 50)
    four_times = of_log_means(SLOPE, variances / 4, 4 * draws)
    scaled = of_log_means(SLOPE, variances, draws).with_draws(4)
    assert scaled.quadratic == pytest.approx(four_times.quadratic)
    assert scaled.constant == pytest.approx(four_times.constant)


@pytest.mark.parametrize(("weights", "cvs"), [((1.0,), (0.8,)), ((-0.7, -0.2, 0.2, 0.7), (0.3, 0.4, 0.6, 0.8))])
def test_no_side_misses_more_often_than_stated_where_student_s_t_does(weights: tuple, cvs: tuple) -> None:
    """Log-normal rows with these coefficients of variation, 64 draws, 0.5 % on each side."""
    n, repeats, alpha, a = 64, 20_000, 0.005, np.array(weights)
    sigma = np.sqrt(np.log1p(np.square(cvs)))
    rng, misses = np.random.default_rng(0), np.zeros((2, 2))
    z = stats.t.ppf([alpha, 1 - alpha], n - 1)
    for _ in range(repeats):
        rows = np.exp(sigma * rng.standard_normal((n, a.size)) - sigma**2 / 2)
        mean = rows.mean(axis=0)
        variances = rows.var(axis=0, ddof=1) / n / mean**2
        value, se = a @ np.log(mean), (a**2 @ variances) ** 0.5
        for row, one in enumerate((of_log_means(a, variances, np.full(a.size, n)), Skewness())):
            lower, upper = transformed(z, one.quadratic, one.constant)
            misses[row] += value - lower * se < 0, value - upper * se > 0
    ours, student = misses.max(axis=1) / (alpha * repeats)
    assert ours < 1.5
    assert student > 2
