"""Statistics of rows with a known result, and of noisy rows against NumPy's least squares."""

from collections.abc import Callable

import numpy as np
import pytest

from ammup.claims.draws import Setting
from ammup.claims.statistics import (
    around_slope_of_law,
    log_lr_star,
    log_ratio,
    side_by_side,
    slope_difference,
    slope_of_law,
    slope_over,
)

DEPTHS = (2, 3, 8)
SMALL = Setting(
    family="mlp",
    depths=DEPTHS,
    inputs=("ones", 6),
    arguments=(("width", 6), ("in_features", 6), ("out_features", 6), ("readout", "he")),
)


@pytest.mark.parametrize("slope", [-1.5, 0.0, 0.7])
def test_statistics_of_power_laws_are_their_exponents(slope: float, rows_of: Callable) -> None:
    x = np.array(DEPTHS, dtype=float)
    rows = rows_of(*(0.3 * x**slope))
    np.testing.assert_allclose(log_lr_star(rows), np.log(0.3 * x**slope))
    assert slope_over(DEPTHS)(rows) == pytest.approx(slope)
    assert log_ratio(rows) == pytest.approx(slope * np.log(4))
    two = rows_of(*(0.3 * x**slope), *(7 * x ** (slope + 0.25)))
    assert slope_difference(DEPTHS)(two) == pytest.approx(0.25)


def test_slopes_of_noisy_rows_are_least_squares() -> None:
    rows = np.random.default_rng(0).lognormal(size=(20, 6))
    log_lr = np.log(rows.mean(axis=0) ** -0.5)
    first, second = (np.polyfit(np.log(DEPTHS), half, 1)[0] for half in np.split(log_lr, 2))
    assert slope_over(DEPTHS)(rows[:, :3]) == pytest.approx(first)
    assert slope_difference(DEPTHS)(rows) == pytest.approx(second - first)


def test_the_slope_of_the_law_is_on_the_depths_or_the_given_values() -> None:
    law = SMALL.law()
    assert slope_of_law(SMALL) == pytest.approx(np.polyfit(np.log(DEPTHS), np.log(law), 1)[0])
    assert slope_of_law(SMALL, law**2) == pytest.approx(0.5)
    region = around_slope_of_law(SMALL, 0.1)()
    assert (region.low, region.high) == pytest.approx((slope_of_law(SMALL) - 0.1, slope_of_law(SMALL) + 0.1))


def test_the_columns_of_several_settings_have_the_same_seeds() -> None:
    other = SMALL.at(2).with_arguments(activation="gelu")
    rows = side_by_side(SMALL, other)(range(3, 6))
    np.testing.assert_array_equal(rows, np.concatenate([SMALL.S_bar(range(3, 6)), other.S_bar(range(3, 6))], axis=1))
    assert rows.shape == (3, 4)
