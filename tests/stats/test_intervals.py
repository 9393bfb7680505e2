"""Intervals against scipy's tests, closed forms of Student's t, and naive loops."""

import math

import numpy as np
import pytest
from scipy import stats

from ammup.stats.intervals import jackknife_error, t_interval, t_quantile, upper_probability, welch_df

DIFFERENT = (np.array([1.0, 2.5, 2.0, 4.0]), np.array([0.1, 0.3, 0.2, 0.25, 0.2, 0.9]))


def test_a_level_leaves_half_of_the_rest_above_the_upper_end() -> None:
    assert [upper_probability(level) for level in (0.0, 0.5, 0.95)] == [0.5, 0.75, 0.975]


@pytest.mark.parametrize("probability", [0.6, 0.975, 1 - 6e-5])
def test_quantiles_of_one_and_two_degrees_of_freedom_have_a_closed_form(probability: float) -> None:
    assert t_quantile(probability, 1) == pytest.approx(math.tan(math.pi * (probability - 0.5)), rel=1e-8)
    closed = (2 * probability - 1) / math.sqrt(2 * probability * (1 - probability))
    assert t_quantile(probability, 2) == pytest.approx(closed, rel=1e-8)


def test_quantiles_of_infinitely_many_degrees_of_freedom_are_the_normal_ones() -> None:
    assert t_quantile(0.975, math.inf) == pytest.approx(stats.norm.ppf(0.975))


@pytest.mark.parametrize("df", [0, -1, math.nan])
def test_without_degrees_of_freedom_there_is_no_interval(df: float) -> None:
    assert np.isnan(t_interval(1.0, 0.5, df=df, probability=0.975)).all()


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_interval_of_a_mean_is_that_of_the_t_test(level: float) -> None:
    for sample in DIFFERENT:
        error = float(sample.std(ddof=1)) / len(sample) ** 0.5
        ends = t_interval(float(sample.mean()), error, df=len(sample) - 1, probability=upper_probability(level))
        assert ends == pytest.approx(tuple(stats.ttest_1samp(sample, 0).confidence_interval(level)))


def test_the_interval_of_a_difference_is_that_of_welch_s_test() -> None:
    variances = np.array([np.var(sample, ddof=1) / len(sample) for sample in DIFFERENT])
    total = float(variances.sum())
    df = welch_df(variances, np.array([len(sample) - 1.0 for sample in DIFFERENT]), total=total)
    test = stats.ttest_ind(*DIFFERENT, equal_var=False)
    assert df == pytest.approx(test.df)
    difference = float(DIFFERENT[0].mean() - DIFFERENT[1].mean())
    ends = t_interval(difference, math.sqrt(total), df=df, probability=upper_probability(0.95))
    assert ends == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_equal_variances_pool_all_degrees_of_freedom() -> None:
    assert welch_df(np.full(3, 0.1), np.full(3, 7.0), total=0.3) == pytest.approx(21)


@pytest.mark.parametrize(("variances", "df"), [([0.1, 0.2], [math.inf, math.inf]), ([0.0, 0.0], [3.0, 4.0])])
def test_degrees_of_freedom_are_infinite_where_none_is_known_to_contribute(variances: list, df: list) -> None:
    assert welch_df(np.array(variances), np.array(df), total=sum(variances)) == math.inf


def test_an_array_has_the_interval_of_each_of_its_numbers() -> None:
    centre, error = np.array([1.0, -2.0, 0.0]), np.array([0.1, 0.2, 0.0])
    low, high = t_interval(centre, error, df=4, probability=0.9)
    each = [t_interval(c, e, df=4, probability=0.9) for c, e in zip(centre.tolist(), error.tolist(), strict=True)]
    assert list(zip(low, high, strict=True)) == each


@pytest.mark.parametrize("n", [2, 3, 9, 40])
def test_the_jackknife_of_means_is_the_textbook_s_standard_error(n: int) -> None:
    sample = np.random.default_rng(n).lognormal(size=(n, 3))
    parts = np.array([np.delete(sample, i, axis=0).mean(axis=0) for i in range(n)])
    assert jackknife_error(parts) == pytest.approx(sample.std(axis=0, ddof=1) / n**0.5)


def test_the_jackknife_is_the_scatter_of_its_pseudo_values() -> None:
    sample = np.random.default_rng(0).lognormal(size=12)
    parts = np.array([np.median(np.delete(sample, i)) for i in range(12)])
    pseudo = 12 * np.median(sample) - 11 * parts
    assert jackknife_error(parts) == pytest.approx(pseudo.std(ddof=1) / 12**0.5)
