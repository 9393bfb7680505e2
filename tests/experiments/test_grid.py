"""The grid of a sweep."""

import numpy as np
import pytest

from ammup.errors import InputError
from ammup.experiments.grid import MAX_CELLS, Grid, LogSpace


def test_learning_rates_are_equally_spaced_in_their_logarithm() -> None:
    rates = Grid(depths=(3,), lrs=LogSpace(low=1e-3, high=10.0, points=9)).learning_rates
    np.testing.assert_allclose(np.diff(np.log10(rates)), 0.5, rtol=1e-10)
    assert rates[0] == 1e-3


def test_common_points_of_two_grids_are_equal_numbers() -> None:
    coarse, fine = (Grid(depths=(3,), lrs=LogSpace(points=points)).learning_rates for points in (5, 9))
    assert set(coarse) <= set(fine)


@pytest.mark.parametrize(("seeds", "numbers"), [(3, (0, 1, 2)), ((4, 2), (4, 2))])
def test_the_size_is_the_product_of_the_axis_lengths(seeds: int | tuple[int, ...], numbers: tuple[int, ...]) -> None:
    grid = Grid(depths=(3, 4), lrs=(0.1, 1.0, 10.0), seeds=seeds)
    assert grid.seed_numbers == numbers
    assert grid.size == 2 * 3 * len(numbers)


@pytest.mark.parametrize(
    "given", [{"low": 1.0, "high": 0.1}, {"points": 0}, {"low": 0.0}, {"points": 1}, {"low": 10.0}]
)
def test_an_invalid_range_is_rejected(given: dict) -> None:
    with pytest.raises(InputError, match=r"low=.*high=.*points=.*expected"):
        LogSpace(**given)


def test_a_grid_with_too_many_cells_is_rejected() -> None:
    with pytest.raises(InputError, match=f"at most {MAX_CELLS}"):
        Grid(depths=(3,), lrs=LogSpace(points=1000), seeds=1_000_000)
