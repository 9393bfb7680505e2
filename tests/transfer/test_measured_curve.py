"""Ratios of a measured curve against Welch's test, repeated measurements, and interpolation by numpy."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ammup import InputError
from ammup.transfer.measured_curve import MeasuredCurve

CURVE = {4: 0.9, 8: 0.35, 30: 0.02}
UNKNOWN = [math.nan, math.nan]


class _Measured:
    """What a DepthLaw is to the rules: one row a depth, in any order."""

    def __init__(self, **columns: object) -> None:
        self.curve = pd.DataFrame(columns)


def _interval(measured: object, before: int, after: int, level: float = 0.95) -> np.ndarray:
    return MeasuredCurve.of(measured).ratio(before, after, level=level)[1]


def test_a_mapping_and_a_table_in_any_order_are_one_curve() -> None:
    one = MeasuredCurve.of({8: 0.35, 30: 0.02, 4: 0.9})
    table = _Measured(depth=[30, 4, 8], lr_star=[0.02, 0.9, 0.35], se_log10=[0.3, 0.1, 0.2], seeds=[1, 5, 9])
    other = MeasuredCurve.of(table)
    assert one.depths == other.depths == (4, 8, 30)
    np.testing.assert_array_equal(one.log_lr, np.log10([0.9, 0.35, 0.02]))
    np.testing.assert_array_equal(other.log_lr, one.log_lr)
    np.testing.assert_array_equal(other.se, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(other.df, [4, 8, np.inf])
    assert np.isnan(one.se).all()


@pytest.mark.parametrize(("before", "after"), [(4, 8), (5, 7), (30, 4), (12, 29)])
def test_ratios_are_those_of_a_line_through_the_logarithms(before: int, after: int) -> None:
    at = np.interp(np.log([before, after]), np.log(list(CURVE)), np.log(list(CURVE.values())))
    ratio, _ = MeasuredCurve.of(CURVE).ratio(before, after, level=0.95)
    assert ratio == pytest.approx(math.exp(at[1] - at[0]), rel=1e-13)


@pytest.mark.parametrize("depth", [3, 31])
def test_outside_of_the_measured_depths_there_is_no_ratio(depth: int) -> None:
    with pytest.raises(InputError, match=f"depth {depth} lies outside the measured depths"):
        MeasuredCurve.of(CURVE).ratio(8, depth, level=0.95)


def test_interval_uses_student_where_the_number_of_draws_is_known() -> None:
    """Two samples of one variance and size n: Welch's degrees of freedom are 2 (n - 1)."""
    measured = _Measured(depth=[4, 8], lr_star=[1.0, 1.0], se_log10=[0.1, 0.1], seeds=[5, 5])
    half = stats.t.ppf(0.975, 8) * 0.1 * 2**0.5
    assert np.log10(_interval(measured, 4, 8)) == pytest.approx([-half, half], rel=1e-12)


def test_interval_of_differing_draws_is_that_of_welchs_test() -> None:
    rng = np.random.default_rng(0)
    four, eight = rng.normal(0, 0.1, 6), rng.normal(-0.5, 0.3, 9)
    means, errors = ([f(x) for x in (four, eight)] for f in (np.mean, stats.sem))
    measured = _Measured(depth=[4, 8], lr_star=list(10.0 ** np.array(means)), se_log10=errors, seeds=[6, 9])
    oracle = stats.ttest_ind(eight, four, equal_var=False).confidence_interval(0.9)
    assert np.log10(_interval(measured, 4, 8, 0.9)) == pytest.approx(list(oracle), rel=1e-10)


@pytest.mark.parametrize(("before", "after"), [(5, 7), (6, 8), (4, 12), (6, 20), (30, 5)])
def test_interval_between_depths_counts_what_both_ends_lean_on_once(before: int, after: int) -> None:
    """Against repeated measurements, 20000 of them: the standard error of a standard deviation is 0.5 %."""
    errors, level = [0.03, 0.01, 0.02], 0.95
    measured = _Measured(depth=list(CURVE), lr_star=list(CURVE.values()), se_log10=errors)
    rng = np.random.default_rng(0)
    logs = np.log10(list(CURVE.values())) + rng.normal(0, errors, (20000, 3))
    at = np.log([before, after])
    ratios = [np.subtract(*np.interp(at, np.log(list(CURVE)), row)[::-1]) for row in logs]
    low, high = np.log10(_interval(measured, before, after, level))
    assert (high - low) / 2 == pytest.approx(stats.norm.ppf((1 + level) / 2) * np.std(ratios), rel=0.025)


def test_an_error_that_is_not_known_leaves_no_interval() -> None:
    assert _interval(CURVE, 4, 8) == pytest.approx(UNKNOWN, nan_ok=True)
    one_draw = _Measured(depth=[4, 8, 30], lr_star=[0.9, 0.35, 0.02], se_log10=[0.1, 0.1, math.nan], seeds=[8, 8, 1])
    assert _interval(one_draw, 8, 30) == pytest.approx(UNKNOWN, nan_ok=True)
    assert _interval(one_draw, 8, 12) == pytest.approx(UNKNOWN, nan_ok=True)
    assert np.isfinite(_interval(one_draw, 4, 8)).all()
