"""The statements of the documentation about the adaptive search, on the grids on which they were measured."""

import pytest
from tracked.search import Grids


@pytest.fixture(scope="module")
def rows():
    return Grids.read().replayed()


def test_the_search_finds_the_optimum_of_the_grid_in_a_quarter_of_its_steps(rows) -> None:
    """The stored grids are fixed, so only a change of the search rule can change these numbers."""
    assert len(rows) == 55
    near = (rows["off"].abs() <= 1).sum()
    assert near >= 52
    assert rows["grid"].sum() / rows["steps"].sum() > 3.6
    assert rows["accuracy lost"].mean() < 0.002
